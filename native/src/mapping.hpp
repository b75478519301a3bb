#pragma once

#include <sys/mman.h>
#include <sys/types.h>

#include <cerrno>
#include <cstddef>
#include <utility>

namespace ublk {

// Owns one memory mapping. A child of the host program does not inherit it: buffers the kernel reads and
// writes must stay where they are, and a fork should not copy the page tables of a large image.
class Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept
      : address_(std::exchange(other.address_, nullptr)),
        length_bytes_(std::exchange(other.length_bytes_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept {
    if (this != &other) {
      reset();
      address_ = std::exchange(other.address_, nullptr);
      length_bytes_ = std::exchange(other.length_bytes_, 0);
    }
    return *this;
  }
  ~Mapping() { reset(); }

  // Arguments as for mmap(2); 0 or a negative errno.
  int map(size_t length_bytes, int protection, int flags, int fd, off_t offset) {
    void* address = ::mmap(nullptr, length_bytes, protection, flags, fd, offset);
    if (address == MAP_FAILED) return -errno;
    reset();
    ::madvise(address, length_bytes, MADV_DONTFORK);
    address_ = static_cast<std::byte*>(address);
    length_bytes_ = length_bytes;
    return 0;
  }
  void reset() {
    if (address_ != nullptr) ::munmap(address_, length_bytes_);
    address_ = nullptr;
    length_bytes_ = 0;
  }
  std::byte* data() const { return address_; }
  size_t size() const { return length_bytes_; }

 private:
  std::byte* address_ = nullptr;
  size_t length_bytes_ = 0;
};

}  // namespace ublk
