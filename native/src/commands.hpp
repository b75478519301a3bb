#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "batch.hpp"
#include "data_mode.hpp"
#include "ring.hpp"
#include "tag.hpp"

namespace ublk {

// How the tags of one queue come from the kernel and go back to it: the only place that queues FETCH and
// COMMIT commands. Knows nothing of what happens to a request in between.
class Commands {
 public:
  Commands(Ring& ring, uint16_t queue_id, DataMode mode) : ring_(ring), queue_id_(queue_id), mode_(mode) {}

  // Before all else: fetch and commit tags by the batch. 0 or a negative errno.
  int use_batches(uint16_t depth);
  // Null: one by one.
  Batch* batch() const { return batch_.get(); }
  void reset() { batch_.reset(); }

  // Hands all tags to the kernel for their first requests.
  bool fetch_all(std::span<Tag> tags);
  // Has the kernel copy a WRITE's bytes to the tag's buffer before it gives the tag back.
  bool get_data(Tag& tag);
  // Answers the tag's request and hands the tag to the kernel for the next one, at the latest with the next
  // flush(). All: false when the ring is broken; the request then stays uncommitted, and a recoverable device
  // issues it again.
  bool commit(Tag& tag, int32_t result);
  // Before the ring is entered.
  bool flush() { return batch_ == nullptr || batch_->flush(); }
  // The kernel gave the tag back, with a request or for good.
  void came_back() { armed_count_--; }
  // The kernel takes answers still, but has no more requests for anybody.
  void end_deliveries() { ended_ = true; }

  // Tags that the kernel holds.
  uint32_t armed_count() const { return armed_count_; }

 private:
  void arm(Tag& tag);
  bool queue_command(Tag& tag, uint32_t operation, int32_t result);

  Ring& ring_;
  const uint16_t queue_id_;
  const DataMode mode_;
  std::unique_ptr<Batch> batch_;
  uint32_t armed_count_ = 0;
  bool ended_ = false;
};

}  // namespace ublk
