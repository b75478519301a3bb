#pragma once

#include <cstddef>
#include <cstdint>

#include "mapping.hpp"
#include "tag.hpp"

namespace ublk {

// The page of request descriptors that the kernel shares with one queue.
class Descriptors {
 public:
  // 0 or a negative errno.
  int map(int char_fd, uint16_t queue_id, uint16_t depth);
  void reset() { memory_.reset(); }
  // What the kernel asks of the request's tag.
  void read(Request& request) const;

 private:
  Mapping memory_;
};

// Where queue `queue_id` finds its descriptors: the stride is that of the deepest queue the kernel knows,
// whatever the depth of this one.
uint64_t descriptor_offset_bytes(uint16_t queue_id);
size_t descriptor_length_bytes(uint16_t depth);

}  // namespace ublk
