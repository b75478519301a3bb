// A mapped file on tmpfs or hugetlbfs: the bytes outlive the process, not the machine. Without a path,
// anonymous memory.
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <cstring>

#include "abi.hpp"
#include "bus_guard.hpp"
#include "target.hpp"
#include "transfer.hpp"

namespace ublk {

namespace {

// FLUSH promises nothing here, so a file whose bytes do belong on a disk must not be served as memory.
int check_in_memory(const struct statfs& info) {
  return info.f_type == TMPFS_MAGIC || info.f_type == HUGETLBFS_MAGIC || info.f_type == RAMFS_MAGIC
             ? 0
             : -EMEDIUMTYPE;
}

// hugetlbfs maps, gives back and counts whole pages only.
int fit_to_pages(const struct statfs& info, uint64_t size_bytes, Target& target) {
  if (info.f_type != HUGETLBFS_MAGIC) return 0;
  // They are to be had by a mapping only: such a file has no write.
  target.mapped_only = true;
  target.discard_granularity_bytes = static_cast<uint32_t>(info.f_bsize);
  return size_bytes % target.discard_granularity_bytes == 0 ? 0 : -EINVAL;
}

int open_anonymous(const TargetSpec& spec, Target& target) {
  target.file = UniqueFd(::memfd_create("ublk-memory", MFD_CLOEXEC));
  if (!target.file.valid()) return -errno;
  return ::ftruncate(target.file.get(), static_cast<off_t>(spec.size_bytes)) < 0 ? -errno : 0;
}

int open_file(const TargetSpec& spec, Target& target) {
  // Before the open, which would wait at a pipe for somebody to write.
  struct stat info = {};
  if (::stat(spec.path.c_str(), &info) < 0) return -errno;
  if (!S_ISREG(info.st_mode)) return -EINVAL;
  target.file = UniqueFd(::open(spec.path.c_str(), (spec.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC));
  if (!target.file.valid()) return -errno;
  if (::fstat(target.file.get(), &info) < 0) return -errno;
  if (static_cast<uint64_t>(info.st_size) < spec.size_bytes) return -ENODATA;
  struct statfs file_system = {};
  if (::fstatfs(target.file.get(), &file_system) < 0) return -errno;
  const int checked = check_in_memory(file_system);
  return checked < 0 ? checked : fit_to_pages(file_system, spec.size_bytes, target);
}

int open_memory(const TargetSpec& spec, Target& target, const char*& step) {
  step = "open the memory image";
  const int opened = spec.path.empty() ? open_anonymous(spec, target) : open_file(spec, target);
  if (opened < 0) return opened;
  step = "map the memory image";
  const int protection = spec.read_only ? PROT_READ : PROT_READ | PROT_WRITE;
  const int mapped = target.memory.map(spec.size_bytes, protection, MAP_SHARED, target.file.get(), 0);
  if (mapped < 0) return mapped;
  target.size_bytes = spec.size_bytes;
  target.read_only = spec.read_only;
  target.discard = spec.discard;
  return install_bus_guard();
}

// Anonymous memory grows here; a file is its owner's to grow.
int provide_bytes(const TargetSpec& spec, const Target& target, uint64_t size_bytes) {
  const int fd = target.file.get();
  if (spec.path.empty()) return ::ftruncate(fd, static_cast<off_t>(size_bytes)) < 0 ? -errno : 0;
  struct stat info = {};
  if (::fstat(fd, &info) < 0) return -errno;
  return static_cast<uint64_t>(info.st_size) < size_bytes ? -ENODATA : 0;
}

int grow_memory(const TargetSpec& spec, Target& target, uint64_t size_bytes) {
  const int provided = provide_bytes(spec, target, size_bytes);
  if (provided < 0) return provided;
  Mapping larger;
  const int protection = target.read_only ? PROT_READ : PROT_READ | PROT_WRITE;
  const int mapped = larger.map(size_bytes, protection, MAP_SHARED, target.file.get(), 0);
  if (mapped < 0) return mapped;
  target.memory = std::move(larger);
  target.size_bytes = size_bytes;
  return 0;
}

int punch_hole(const Target& target, const Request& request) {
  const int result =
      ::fallocate(target.file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(request.offset_bytes), static_cast<off_t>(request.length_bytes));
  return result < 0 ? -errno : 0;
}

int64_t write_zeroes(const Target& target, const Request& request) {
  const bool keep_pages = !target.discard || (request.flags & abi::io_f_nounmap) != 0;
  if (!keep_pages) return punch_hole(target, request);
  return guarded_zero(target.memory.data() + request.offset_bytes, request.length_bytes);
}

// One copy, straight into or out of the image: by the ring where the bytes are nowhere but in its table.
int64_t transfer(const Target& target, TargetQueue& queue, const Request& request) {
  if (!queue.has_bytes()) return queue_transfer(queue, request);
  std::byte* place = target.memory.data() + request.offset_bytes;
  const int result =
      request.operation == abi::op_read ? queue.copy_from(request, place) : queue.copy_to(request, place);
  return result < 0 ? result : static_cast<int64_t>(request.length_bytes);
}

int64_t queue_memory_io(const Target& target, TargetQueue& queue, Request& request) {
  const bool changes = request.operation != abi::op_read && request.operation != abi::op_flush;
  if (changes && target.read_only) return -EROFS;
  switch (request.operation) {
    case abi::op_read:
    case abi::op_write:
      return transfer(target, queue, request);
    case abi::op_flush:
      return 0;
    case abi::op_discard:
      return target.discard ? punch_hole(target, request) : -EOPNOTSUPP;
    case abi::op_write_zeroes:
      return write_zeroes(target, request);
    default:
      return -EOPNOTSUPP;
  }
}

int64_t complete_memory_io(const Target&, TargetQueue& queue, Request& request, int32_t result) {
  if (result == -EAGAIN || result == -EINTR) return queue_transfer(queue, request);
  return result < 0 ? result : complete_transfer(queue, request, result);
}

}  // namespace

const TargetOps memory_target{
    .name = "memory",
    .open = open_memory,
    .queue_io = queue_memory_io,
    .complete_io = complete_memory_io,
    .grow = grow_memory,
    .copies_payload = true,
    .transfers_in_ring = true,
};

}  // namespace ublk
