#include "backing.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "block_command.hpp"

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

// A limit of the disk's queue, which a partition has from its disk. 0 when the kernel does not say.
uint64_t read_queue_limit(dev_t device, const std::string& name) {
  const std::string folder =
      "/sys/dev/block/" + std::to_string(major(device)) + ":" + std::to_string(minor(device));
  for (const std::string& path : {folder + "/queue/" + name, folder + "/../queue/" + name}) {
    const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    std::array<char, 32> text = {};
    if (file.valid() && ::read(file.get(), text.data(), text.size() - 1) > 0) {
      return std::strtoull(text.data(), nullptr, 10);
    }
  }
  return 0;
}

void look_at_disk(const struct stat& info, Backing& backing) {
  backing.is_block_device = true;
  backing.punches_holes = read_queue_limit(info.st_rdev, "write_zeroes_max_bytes") > 0;
  if (read_queue_limit(info.st_rdev, "discard_max_bytes") == 0) return;
  backing.discards_by_command = knows_block_commands(backing.file.get());
  const uint64_t granularity_bytes = read_queue_limit(info.st_rdev, "discard_granularity");
  if (granularity_bytes > 4096 && granularity_bytes <= 1U << 30) {
    backing.discard_granularity_bytes = static_cast<uint32_t>(granularity_bytes);
  }
}

// Beyond the end there is nothing to lose.
bool file_punches_holes(int fd, const struct stat& info) {
  return ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, info.st_size, 4096) == 0;
}

}  // namespace

int check_backing_size(int fd, uint64_t size_bytes) {
  struct stat info = {};
  if (::fstat(fd, &info) < 0) return -errno;
  auto have_bytes = static_cast<uint64_t>(info.st_size);
  if (S_ISBLK(info.st_mode) && ::ioctl(fd, BLKGETSIZE64, &have_bytes) < 0) return -errno;
  return have_bytes < size_bytes ? -ENODATA : 0;
}

int open_backing(const TargetSpec& spec, Backing& backing) {
  const int kind = check_kind(spec.path);
  if (kind < 0) return kind;
  const int access = spec.read_only ? O_RDONLY : O_RDWR;
  UniqueFd buffered(::open(spec.path.c_str(), access | O_CLOEXEC));
  struct stat info = {};
  if (!buffered.valid() || ::fstat(buffered.get(), &info) < 0) return -errno;
  const int checked = check_backing_size(buffered.get(), spec.size_bytes);
  if (checked < 0) return checked;
  if (spec.direct) backing.file = open_direct(spec, access);
  backing.direct = backing.file.valid();
  if (!backing.direct) backing.file = std::move(buffered);
  if (S_ISBLK(info.st_mode)) {
    look_at_disk(info, backing);
  } else {
    backing.punches_holes = spec.read_only || file_punches_holes(backing.file.get(), info);
  }
  return 0;
}

}  // namespace ublk
