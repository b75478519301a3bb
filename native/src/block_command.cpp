#include "block_command.hpp"

#include <liburing.h>
#include <sys/ioctl.h>

#include <cerrno>

#include "ring.hpp"

namespace ublk {

namespace {

constexpr uint32_t block_uring_cmd_discard = _IO(0x12, 0);
constexpr uint32_t answer_deadline_ms = 5'000;

}  // namespace

void prepare_block_discard(io_uring_sqe* sqe, int file, uint64_t offset_bytes, uint64_t length_bytes) {
  sqe->opcode = IORING_OP_URING_CMD;
  sqe->fd = file;
  sqe->cmd_op = block_uring_cmd_discard;
  sqe->addr = offset_bytes;
  sqe->addr3 = length_bytes;
}

bool knows_block_commands(int block_device) {
  Ring ring;
  if (ring.create({.entries = 1, .completion_entries = 2}) < 0) return false;
  io_uring_sqe* sqe = ring.next_sqe();
  if (sqe == nullptr) return false;
  // No length is -EINVAL to a kernel that knows the command, before it does anything.
  prepare_block_discard(sqe, block_device, 0, 0);
  if (ring.submit_and_wait_for(answer_deadline_ms) < 0) return false;
  const auto completions = ring.take_completions();
  return !completions.empty() && completions.front().result == -EINVAL;
}

}  // namespace ublk
