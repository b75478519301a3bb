#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "mapping.hpp"
#include "ring.hpp"
#include "tag.hpp"
#include "target.hpp"

namespace ublk {

// The memory that the payload of one queue's requests passes through: a buffer for each tag, locked.
class Buffers {
 public:
  // On the queue's thread, after its affinity is set: the first touch places memory on that thread's node.
  // Gives every tag its buffer. 0 or a negative errno.
  int allocate(std::span<Tag> tags, uint32_t max_io_bytes);
  // Pins the buffers for direct I/O of `queue`'s target once, not for every request, where the kernel lets
  // us.
  void share_with(Ring& ring, TargetQueue& queue);
  void reset() { memory_.reset(); }
  // For a target that lets others see the buffers: they stay where they are until the last user lets go.
  std::shared_ptr<Mapping> memory() const { return memory_; }

 private:
  std::shared_ptr<Mapping> memory_;
};

}  // namespace ublk
