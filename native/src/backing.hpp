#pragma once

#include <cstdint>

#include "target.hpp"
#include "unique_fd.hpp"

namespace ublk {

// A regular file or a block device that holds the bytes of a file target, and what can be done with it.
struct Backing {
  UniqueFd file;
  bool direct = false;
  bool is_block_device = false;
  // How to give space back. A block device discards by a ring command where its kernel has that (6.12), else
  // by a hole that is as good.
  bool discards_by_command = false;
  bool punches_holes = false;
  uint32_t discard_granularity_bytes = 4096;
};

// 0 or a negative errno: -EINVAL when the path is neither, -ENODATA when it is too small.
int open_backing(const TargetSpec& spec, Backing& backing);

// 0 when the file or block device holds `size_bytes`, else -ENODATA.
int check_backing_size(int fd, uint64_t size_bytes);

}  // namespace ublk
