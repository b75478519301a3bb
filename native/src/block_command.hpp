#pragma once

#include <cstdint>

struct io_uring_sqe;

namespace ublk {

// Commands that a ring sends to a block device (linux/blkdev.h, since 6.12).

// Turns a prepared entry for the file into a discard of the range.
void prepare_block_discard(io_uring_sqe* sqe, int file, uint64_t offset_bytes, uint64_t length_bytes);

// Whether the kernel has them, which only an attempt can tell: it discards nothing.
bool knows_block_commands(int block_device);

}  // namespace ublk
