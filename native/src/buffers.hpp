#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "mapping.hpp"
#include "ring.hpp"

namespace ublk {

// Memory of one queue that payload passes through: equal buffers in one locked range. A page is there from
// its first use on, so that a device nobody uses holds none.
class Buffers {
 public:
  // On the queue's thread, after its affinity is set: the first touch places memory on that thread's node.
  // With `shared`, buffers are pinned in the ring's table as they come into use. 0 or a negative errno.
  int allocate(Ring& ring, uint16_t count, uint32_t size_bytes, bool shared);
  void reset() { memory_.reset(); }
  // For a target that lets others see the buffers: they stay where they are until the last user lets go.
  std::shared_ptr<Mapping> memory() const { return memory_; }

  std::byte* at(uint16_t number) const { return memory_->data() + size_t{number} * size_bytes_; }
  // The buffer's index in the ring's table, or no_index. Pins it when it is asked for the first time.
  int32_t index_of(Ring& ring, uint16_t number);

  static constexpr int32_t no_index = -1;

 private:
  static constexpr int32_t not_asked = -2;

  std::shared_ptr<Mapping> memory_;
  uint32_t size_bytes_ = 0;
  std::vector<int32_t> indexes_;
};

}  // namespace ublk
