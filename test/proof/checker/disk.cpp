#include "disk.hpp"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace checker {

namespace {

int whole_transfer(ssize_t done, const Range& range) {
  if (done < 0) return -errno;
  return static_cast<size_t>(done) == range.count * block_bytes ? 0 : -EIO;
}

off_t offset_of(const Range& range) {
  return static_cast<off_t>(range.first * block_bytes);
}

}  // namespace

Buffer::Buffer()
    : memory_(static_cast<std::byte*>(std::aligned_alloc(4096, transfer_blocks_max * block_bytes))) {
  if (!memory_) std::abort();
}

Disk::~Disk() {
  if (fd_ >= 0) ::close(fd_);
}

int Disk::open(const std::string& path, bool writable) {
  fd_ = ::open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_DIRECT | O_CLOEXEC);
  if (fd_ < 0) return -errno;
  const off_t end = ::lseek(fd_, 0, SEEK_END);
  if (end < 0) return -errno;
  block_count_ = static_cast<uint64_t>(end) / block_bytes;
  return 0;
}

int Disk::read(const Range& range, Buffer& buffer) const {
  const std::span<std::byte> bytes = buffer.of(range.count);
  return whole_transfer(::pread(fd_, bytes.data(), bytes.size(), offset_of(range)), range);
}

int Disk::write(const Range& range, Buffer& buffer, bool durably) const {
  const std::span<std::byte> bytes = buffer.of(range.count);
  const iovec vector = {bytes.data(), bytes.size()};
  return whole_transfer(::pwritev2(fd_, &vector, 1, offset_of(range), durably ? RWF_DSYNC : 0), range);
}

int Disk::flush() const {
  return ::fdatasync(fd_) < 0 ? -errno : 0;
}

}  // namespace checker
