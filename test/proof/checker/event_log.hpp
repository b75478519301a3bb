#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "ledger.hpp"

namespace checker {

enum class EventKind : uint32_t {
  run = 1,        // opens the log: `sequence` is the device key, `first` the number of blocks
  issued,         // a write was handed to the kernel
  acknowledged,   // ... and came back well
  durable,        // ... and came back well, with RWF_DSYNC
  flush_started,  // `sequence` is the number of the flush
  flush_done,
  mark_set,  // written before the mark itself is asked for
};

struct Event {
  EventKind kind;
  uint32_t count = 0;
  uint64_t first = 0;
  uint64_t sequence = 0;
};

// Append-only, one write(2) per event: whatever happens to this process or its machine, the events up to then
// are where the file is. Without a path it forgets everything.
class EventLog {
 public:
  int open(const std::string& path);
  int append(const Event& event);

 private:
  int fd_ = -1;
};

// The events of a log in their order; a torn last one is left out. Negative errno when it cannot be read.
int read_events(const std::string& path, const std::function<void(const Event&)>& on_event);

}  // namespace checker
