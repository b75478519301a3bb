#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "ledger.hpp"

namespace checker {

constexpr size_t transfer_blocks_max = 256;

struct FreeMemory {
  void operator()(std::byte* memory) const { std::free(memory); }
};

// Memory that O_DIRECT accepts, for one transfer of the largest size.
class Buffer {
 public:
  Buffer();

  std::span<std::byte> of(uint32_t block_count) { return {memory_.get(), block_count * block_bytes}; }
  BlockBytes block(size_t index) { return BlockBytes(memory_.get() + index * block_bytes, block_bytes); }

 private:
  std::unique_ptr<std::byte, FreeMemory> memory_;
};

// The device or file under test, past the page cache. Each call is one system call; negative errno on
// failure.
class Disk {
 public:
  Disk() = default;
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;
  ~Disk();

  int open(const std::string& path, bool writable);
  uint64_t block_count() const { return block_count_; }
  int read(const Range& range, Buffer& buffer) const;
  int write(const Range& range, Buffer& buffer, bool durably) const;
  int flush() const;

 private:
  int fd_ = -1;
  uint64_t block_count_ = 0;
};

}  // namespace checker
