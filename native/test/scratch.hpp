#pragma once

#include <cstdint>
#include <string>

#include "unique_fd.hpp"

// A directory of its own for one test, gone afterwards. With a size it is a tmpfs that holds no more than
// that.
class Scratch {
 public:
  Scratch();
  explicit Scratch(uint64_t tmpfs_bytes);
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch();

  // The same directory as another file system: "ramfs", say.
  static Scratch mounted(const char* type, const char* options);

  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  // Makes a sparse file and gives its path.
  std::string file(const std::string& name, uint64_t size_bytes) const;

 private:
  Scratch(const char* type, const char* options);
  std::string directory_;
  bool mounted_ = false;
};

// An ext4 whose disk has 4096-byte sectors, so that direct I/O in smaller units is refused.
class LargeSectorDisk {
 public:
  LargeSectorDisk();
  LargeSectorDisk(const LargeSectorDisk&) = delete;
  LargeSectorDisk& operator=(const LargeSectorDisk&) = delete;
  ~LargeSectorDisk();

  std::string file(const std::string& name, uint64_t size_bytes) const;

 private:
  Scratch scratch_;
  std::string mount_point_;
};

// A block device over a file of its own.
class LoopDisk {
 public:
  LoopDisk(uint64_t size_bytes, uint32_t sector_bytes);
  LoopDisk(const LoopDisk&) = delete;
  LoopDisk& operator=(const LoopDisk&) = delete;
  ~LoopDisk();

  const std::string& device() const { return device_; }
  std::string image() const { return scratch_.path("disk"); }

 private:
  Scratch scratch_;
  std::string device_;
};

// What stat(2) counts, and so what a hole gives back.
uint64_t allocated_bytes(const std::string& path);
std::string contents(const std::string& path, uint64_t offset_bytes, uint64_t length_bytes);
void overwrite(const std::string& path, uint64_t offset_bytes, const std::string& bytes);
