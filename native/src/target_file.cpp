// A regular file or a block device, through the queue's own ring: what a kernel loop device does, from user
// space.
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "abi.hpp"
#include "backing.hpp"
#include "block_command.hpp"
#include "memory_limits.hpp"
#include "target.hpp"
#include "transfer.hpp"

namespace ublk {

namespace {

// The ways to zero a range, in the order of trying: each file system and disk has some of them.
constexpr uint8_t by_hole = 0;
constexpr uint8_t by_zeroed_range = 1;
constexpr uint8_t by_writing = 2;

alignas(4096) constexpr std::array<std::byte, 128 * 1024> zeros = {};

int open_file(const TargetSpec& spec, Target& target, const char*& step) {
  step = "open the image";
  Backing backing;
  const int opened = open_backing(spec, backing);
  if (opened < 0) return opened;
  target.size_bytes = spec.size_bytes;
  target.direct = backing.direct;
  target.limits = read_memory_limits(backing.file.get());
  target.read_only = spec.read_only;
  target.discard = spec.discard && (backing.discards_by_command || backing.punches_holes);
  target.discards_by_command = backing.discards_by_command;
  target.is_block_device = backing.is_block_device;
  target.discard_granularity_bytes = backing.discard_granularity_bytes;
  target.fua = true;
  target.file = std::move(backing.file);
  return 0;
}

int64_t queue_fallocate(TargetQueue& queue, const Request& request, int mode) {
  io_uring_sqe* sqe = queue.next_sqe();
  if (sqe == nullptr) return -EIO;
  io_uring_prep_fallocate(sqe, queue.file_slot(), mode | FALLOC_FL_KEEP_SIZE,
                          static_cast<off_t>(request.offset_bytes), static_cast<off_t>(request.length_bytes));
  TargetQueue::tie(sqe, request);
  return answer_later;
}

int64_t queue_flush(TargetQueue& queue, const Request& request) {
  io_uring_sqe* sqe = queue.next_sqe();
  if (sqe == nullptr) return -EIO;
  io_uring_prep_fsync(sqe, queue.file_slot(), IORING_FSYNC_DATASYNC);
  TargetQueue::tie(sqe, request);
  return answer_later;
}

int64_t queue_block_discard(TargetQueue& queue, const Request& request) {
  io_uring_sqe* sqe = queue.next_sqe();
  if (sqe == nullptr) return -EIO;
  prepare_block_discard(sqe, queue.file_slot(), request.offset_bytes, request.length_bytes);
  TargetQueue::tie(sqe, request);
  return answer_later;
}

int64_t queue_discard(const Target& target, TargetQueue& queue, const Request& request) {
  if (!target.discard) return -EOPNOTSUPP;
  if (target.discards_by_command) return queue_block_discard(queue, request);
  return queue_fallocate(queue, request, FALLOC_FL_PUNCH_HOLE);
}

int64_t queue_written_zeros(TargetQueue& queue, const Request& request) {
  io_uring_sqe* sqe = queue.next_sqe();
  if (sqe == nullptr) return -EIO;
  const uint64_t rest_bytes = request.length_bytes - request.done_bytes;
  io_uring_prep_write(sqe, queue.file_slot(), zeros.data(),
                      static_cast<unsigned>(std::min<uint64_t>(rest_bytes, zeros.size())),
                      request.offset_bytes + request.done_bytes);
  TargetQueue::tie(sqe, request);
  return answer_later;
}

// Zeroing gives space back only where that was asked for: a thick image keeps every block it has reserved.
int64_t queue_zeroing(const Target& target, TargetQueue& queue, Request& request) {
  const bool keeps_space = !target.discard || (request.flags & abi::io_f_nounmap) != 0;
  if (keeps_space) request.way = std::max(request.way, by_zeroed_range);
  if (request.way == by_writing) return queue_written_zeros(queue, request);
  return queue_fallocate(queue, request,
                         request.way == by_hole ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
}

int64_t queue_file_io(const Target& target, TargetQueue& queue, Request& request) {
  const bool changes = request.operation != abi::op_read && request.operation != abi::op_flush;
  if (changes && target.read_only) return -EROFS;
  switch (request.operation) {
    case abi::op_read:
    case abi::op_write:
      return queue_transfer(queue, request);
    case abi::op_flush:
      return target.read_only ? 0 : queue_flush(queue, request);
    case abi::op_discard:
      return queue_discard(target, queue, request);
    case abi::op_write_zeroes:
      return queue_zeroing(target, queue, request);
    default:
      return -EOPNOTSUPP;
  }
}

// What an error means for the request: another try, another way, or the errno that its user gets.
int64_t handle_error(const Target& target, TargetQueue& queue, Request& request, int32_t error) {
  // The kernel counts -EAGAIN as a failed request, so a retry is ours to do.
  if (error == -EAGAIN || error == -EINTR) return queue_file_io(target, queue, request);
  // tmpfs knows no zeroed ranges, and a disk takes whole sectors of its own size only.
  const bool cannot = error == -EOPNOTSUPP || error == -EINVAL;
  if (cannot && request.operation == abi::op_write_zeroes && request.way < by_writing) {
    request.way++;
    return queue_zeroing(target, queue, request);
  }
  // Less than a sector of the disk: there is nothing to give back.
  if (error == -EINVAL && request.operation == abi::op_discard && target.is_block_device) return 0;
  return error == -EDQUOT ? -ENOSPC : error;
}

int64_t complete_written_zeros(TargetQueue& queue, Request& request, int32_t result) {
  if (result == 0) return -EIO;
  request.done_bytes += static_cast<uint64_t>(result);
  return request.done_bytes < request.length_bytes ? queue_written_zeros(queue, request) : 0;
}

int64_t complete_file_io(const Target& target, TargetQueue& queue, Request& request, int32_t result) {
  if (result < 0) return handle_error(target, queue, request, result);
  if (is_transfer(request)) return complete_transfer(queue, request, result);
  const bool writes_zeros = request.operation == abi::op_write_zeroes && request.way == by_writing;
  return writes_zeros ? complete_written_zeros(queue, request, result) : 0;
}

// The queues address the file by themselves; all there is to know is that it has the bytes.
int grow_file(const TargetSpec&, Target& target, uint64_t size_bytes) {
  const int checked = check_backing_size(target.file.get(), size_bytes);
  if (checked < 0) return checked;
  target.size_bytes = size_bytes;
  return 0;
}

int sync_file(const Target& target) {
  if (target.read_only) return 0;
  return ::fdatasync(target.file.get()) < 0 ? -errno : 0;
}

}  // namespace

const TargetOps file_target{
    .name = "file",
    .open = open_file,
    .queue_io = queue_file_io,
    .complete_io = complete_file_io,
    .grow = grow_file,
    .grows_while_serving = true,
    .sync = sync_file,
    .transfers_in_ring = true,
};

}  // namespace ublk
