#pragma once

#include <cstdint>

namespace ublk {

// How memory must lie for I/O on a file without a copy in between; zero where nothing is known or asked.
struct MemoryLimits {
  uint32_t align_bytes = 0;
  uint32_t max_segment_bytes = 0;  // of one contiguous piece
  uint16_t max_segments = 0;       // pieces of one request
};

// Of a regular file or a block device, opened for direct or for buffered I/O.
MemoryLimits read_memory_limits(int fd);

}  // namespace ublk
