#pragma once

#include <atomic>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "counts.hpp"
#include "disk.hpp"
#include "event_log.hpp"
#include "ledger.hpp"

namespace checker {

struct LoadOptions {
  uint32_t thread_count = 8;
  // 0: until stop() is called.
  uint64_t writes_max = 0;
  // Pause of each thread between two requests, so that a load of many devices leaves the machine alive.
  uint32_t pause_us = 0;
  // The dm-log-writes device that gets a mark KEY-flush-N after each flush; empty: none.
  std::string mark_device = {};
};

// Writes, reads and flushes at random, several at a time, never two on the same block, and remembers in the
// ledger what was acknowledged. What it reads is judged at once.
class Load {
 public:
  Load(LoadOptions options, const Disk& disk, Ledger& ledger, EventLog& log);

  // Returns when the load was stopped or has done its writes, and nothing is in flight.
  Counts run();
  // Async-signal-safe.
  void stop() { stopping_ = true; }

 private:
  enum class Action { read, write, write_durably, flush };

  void work(uint32_t worker);
  bool done() const;
  Action choose(std::mt19937_64& random) const;
  std::optional<Range> claim(std::mt19937_64& random);
  void release(const Range& range);
  void write(const Range& range, Buffer& buffer, bool durably);
  void read(const Range& range, Buffer& buffer);
  void flush();
  void mark(uint64_t flush_number);
  void record(const Event& event);

  const LoadOptions options_;
  const Disk& disk_;
  std::atomic<bool> stopping_{false};

  std::mutex mutex_;  // of all below
  Ledger& ledger_;
  EventLog& log_;
  Counts counts_;
  std::vector<bool> claimed_;
  uint64_t last_sequence_ = 0;
  uint64_t last_flush_ = 0;
};

}  // namespace checker
