#pragma once

#include <cstdint>

#include "data_mode.hpp"
#include "ring.hpp"
#include "tag.hpp"

namespace ublk {

// How the tags of one queue come from the kernel and go back to it: the only place that queues FETCH and
// COMMIT commands. Knows nothing of what happens to a request in between.
class Commands {
 public:
  Commands(Ring& ring, uint16_t queue_id, DataMode mode) : ring_(ring), queue_id_(queue_id), mode_(mode) {}

  // Hands the tag to the kernel for its first request.
  bool fetch(Tag& tag);
  // Has the kernel copy a WRITE's bytes to the tag's buffer before it gives the tag back.
  bool get_data(Tag& tag);
  // Answers the tag's request and hands the tag to the kernel for the next one. All three: false when the
  // ring is broken; the request then stays uncommitted, and a recoverable device issues it again.
  bool commit(Tag& tag, int32_t result);
  // The kernel gave the tag back, with a request or for good.
  void came_back() { armed_count_--; }

  // Tags that the kernel holds.
  uint32_t armed_count() const { return armed_count_; }

 private:
  bool queue_command(Tag& tag, uint32_t operation, int32_t result);

  Ring& ring_;
  const uint16_t queue_id_;
  const DataMode mode_;
  uint32_t armed_count_ = 0;
};

}  // namespace ublk
