#include "memory_limits.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace ublk {

namespace {

// What a block device asks for unless it says otherwise, and the driver takes: one byte below a page.
constexpr uint32_t usual_align_bytes = 512;
constexpr uint32_t max_align_bytes = 4096;

uint32_t read_align_bytes(int fd) {
  struct statx info = {};
  const bool told = ::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) == 0 &&
                    (info.stx_mask & STATX_DIOALIGN) != 0 && info.stx_dio_mem_align != 0;
  return told ? std::min(info.stx_dio_mem_align, max_align_bytes) : usual_align_bytes;
}

// 0 when there is no such file.
uint64_t read_number(const std::string& path) {
  std::ifstream file(path);
  uint64_t number = 0;
  file >> number;
  return number;
}

// A limit of the disk that holds the file. A partition has none of its own; a file system over several disks
// has no disk that is its own.
uint64_t read_queue_limit(dev_t disk, const std::string& name) {
  const std::string place =
      "/sys/dev/block/" + std::to_string(major(disk)) + ":" + std::to_string(minor(disk));
  const uint64_t limit = read_number(place + "/queue/" + name);
  return limit != 0 ? limit : read_number(place + "/../queue/" + name);
}

}  // namespace

MemoryLimits read_memory_limits(int fd) {
  struct stat info = {};
  if (::fstat(fd, &info) < 0) return {};
  const dev_t disk = S_ISBLK(info.st_mode) ? info.st_rdev : info.st_dev;
  return {.align_bytes = read_align_bytes(fd),
          .max_segment_bytes = static_cast<uint32_t>(
              std::min<uint64_t>(read_queue_limit(disk, "max_segment_size"), UINT32_MAX)),
          .max_segments =
              static_cast<uint16_t>(std::min<uint64_t>(read_queue_limit(disk, "max_segments"), UINT16_MAX))};
}

}  // namespace ublk
