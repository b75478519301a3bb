#include "transfer.hpp"

#include <sys/uio.h>

#include <cerrno>

#include "abi.hpp"

namespace ublk {

bool is_transfer(const Request& request) {
  return request.operation == abi::op_read || request.operation == abi::op_write;
}

int64_t queue_transfer(TargetQueue& queue, const Request& request) {
  io_uring_sqe* sqe = queue.next_sqe();
  if (sqe == nullptr) return -EIO;
  const bool reads = request.operation == abi::op_read;
  const bool fixed = request.buffer_index >= 0;
  const int operation = reads ? (fixed ? IORING_OP_READ_FIXED : IORING_OP_READ)
                              : (fixed ? IORING_OP_WRITE_FIXED : IORING_OP_WRITE);
  // Pages of the kernel's in the ring's table have no address here: theirs begins at zero.
  const uint64_t address = reinterpret_cast<uint64_t>(request.buffer) + request.done_bytes;
  io_uring_prep_rw(operation, sqe, queue.file_slot(), reinterpret_cast<const void*>(address),
                   static_cast<unsigned>(request.length_bytes - request.done_bytes),
                   request.offset_bytes + request.done_bytes);
  if (fixed) sqe->buf_index = static_cast<uint16_t>(request.buffer_index);
  if (!reads && (request.flags & abi::io_f_fua) != 0) sqe->rw_flags = RWF_DSYNC;
  TargetQueue::tie(sqe, request);
  return answer_later;
}

int64_t complete_transfer(TargetQueue& queue, Request& request, int32_t result) {
  // The image is shorter than the device: somebody cut it.
  if (result == 0) return -EIO;
  request.done_bytes += static_cast<uint64_t>(result);
  if (request.done_bytes < request.length_bytes) return queue_transfer(queue, request);
  return static_cast<int64_t>(request.length_bytes);
}

}  // namespace ublk
