#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "abi.hpp"
#include "data_mode.hpp"
#include "mapping.hpp"
#include "ring.hpp"
#include "tag.hpp"

namespace ublk {

// Tags by the batch (BATCH_IO, kernel 7.0): one command hands all of them over, one that stays delivers
// requests, and one for each pass answers what was finished in it.
class Batch {
 public:
  Batch(Ring& ring, uint16_t queue_id, uint16_t depth, DataMode mode);

  // The buffers that the kernel writes tags of requests into. 0 or a negative errno.
  int prepare();
  // On the queue's thread after ring.reset(): the kernel knows the buffers no more.
  void reset() { delivery_ring_.reset(); }

  // Each queues one command; false when the ring is broken.
  bool hand_over(std::span<const Tag> tags);  // completes with Mark::batch_prepare: 0 or a negative errno
  bool deliver();                             // completes again and again, with Mark::batch_deliver
  bool flush();                               // completes with Mark::batch_commit: see committed()

  // The kernel has read what hand_over() gave it.
  void handed_over(const Completion& completion);
  // The answer of one tag, for the next flush().
  void commit(const Tag& tag, int32_t result);
  // False: the kernel refused the answers. What it did not get to is queued again.
  bool committed(const Completion& completion);

  // The tags of a delivery, until put_back() gives its buffer to the kernel again.
  std::span<const uint16_t> tags_of(const Completion& completion) const;
  void put_back(const Completion& completion);

 private:
  struct Answers {
    std::vector<std::byte> bytes;
    uint32_t length_bytes = 0;
    uint32_t sent_bytes = 0;
    bool in_flight = false;
  };

  Answers& open_answers();
  void append(Answers& answers, const Tag& tag, int32_t result) const;
  bool queue_answers(uint32_t operation, uint16_t number);
  uint16_t* delivery_buffer(uint16_t number) const;

  Ring& ring_;
  const uint16_t queue_id_;
  const uint16_t depth_;
  const uint16_t flags_;
  const uint8_t element_bytes_;
  Mapping delivery_ring_;
  std::vector<uint16_t> delivered_;
  std::deque<Answers> answers_;  // a place in it stays where it is while the kernel may read it
  uint16_t open_ = 0;
};

}  // namespace ublk
