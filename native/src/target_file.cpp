// A regular file or a block device, through the queue's own ring: what a kernel loop device does, from user
// space.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstdlib>
#include <memory>

#include "abi.hpp"
#include "memory_limits.hpp"
#include "target.hpp"
#include "transfer.hpp"

namespace ublk {

namespace {

struct FreeMemory {
  void operator()(void* memory) const { std::free(memory); }
};

// Whether the file takes O_DIRECT in units of the device's logical block, which a disk with larger sectors
// does not. Kernels before 6.1 and some file systems cannot say, so there a read has to tell; it is second
// choice because ext4 reads any length of a hole, and refuses only the write that comes later.
bool direct_io_works(int fd, uint32_t block_bytes) {
  struct statx info = {};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) == 0 && (info.stx_mask & STATX_DIOALIGN) != 0) {
    return info.stx_dio_offset_align != 0 && info.stx_dio_offset_align <= block_bytes;
  }
  const std::unique_ptr<void, FreeMemory> block(std::aligned_alloc(4096, 4096));
  return block != nullptr && ::pread(fd, block.get(), block_bytes, 0) == static_cast<ssize_t>(block_bytes);
}

UniqueFd open_direct(const TargetSpec& spec, int access) {
  UniqueFd file(::open(spec.path.c_str(), access | O_DIRECT | O_CLOEXEC));
  if (file.valid() && !direct_io_works(file.get(), spec.logical_block_bytes)) file.reset();
  return file;
}

// Asked before the open, which would wait at a pipe for somebody to write.
int check_kind(const std::string& path) {
  struct stat info = {};
  if (::stat(path.c_str(), &info) < 0) return -errno;
  return S_ISREG(info.st_mode) || S_ISBLK(info.st_mode) ? 0 : -EINVAL;
}

// 0 when the file or block device holds `size_bytes`.
int check_size(int fd, uint64_t size_bytes) {
  struct stat info = {};
  if (::fstat(fd, &info) < 0) return -errno;
  auto have_bytes = static_cast<uint64_t>(info.st_size);
  if (S_ISBLK(info.st_mode) && ::ioctl(fd, BLKGETSIZE64, &have_bytes) < 0) return -errno;
  return have_bytes < size_bytes ? -ENODATA : 0;
}

int open_file(const TargetSpec& spec, Target& target, const char*& step) {
  step = "open the image";
  const int kind = check_kind(spec.path);
  if (kind < 0) return kind;
  const int access = spec.read_only ? O_RDONLY : O_RDWR;
  UniqueFd buffered(::open(spec.path.c_str(), access | O_CLOEXEC));
  if (!buffered.valid()) return -errno;
  const int checked = check_size(buffered.get(), spec.size_bytes);
  if (checked < 0) return checked;
  if (spec.direct) target.file = open_direct(spec, access);
  target.direct = target.file.valid();
  if (!target.direct) target.file = std::move(buffered);
  target.limits = read_memory_limits(target.file.get());
  target.size_bytes = spec.size_bytes;
  target.read_only = spec.read_only;
  target.discard = spec.discard;
  target.fua = true;
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

// Zeroing gives space back only where that was asked for: a thick image keeps every block it has reserved.
int zeroing_mode(const Target& target, const Request& request) {
  const bool keep_space = !target.discard || (request.flags & abi::io_f_nounmap) != 0;
  return keep_space ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE;
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
      return target.discard ? queue_fallocate(queue, request, FALLOC_FL_PUNCH_HOLE) : -EOPNOTSUPP;
    case abi::op_write_zeroes:
      return queue_fallocate(queue, request, zeroing_mode(target, request));
    default:
      return -EOPNOTSUPP;
  }
}

int64_t complete_file_io(const Target& target, TargetQueue& queue, Request& request, int32_t result) {
  // The kernel counts -EAGAIN as a failed request, so a retry is ours to do.
  if (result == -EAGAIN || result == -EINTR) return queue_file_io(target, queue, request);
  if (result < 0) return result;
  return is_transfer(request) ? complete_transfer(queue, request, result) : 0;
}

// The queues address the file by themselves; all there is to know is that it has the bytes.
int grow_file(const TargetSpec&, Target& target, uint64_t size_bytes) {
  const int checked = check_size(target.file.get(), size_bytes);
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
