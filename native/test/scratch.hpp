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

// A file system of its own, made by `mkfs` on a disk with sectors of this size.
class MountedDisk {
 public:
  MountedDisk(uint64_t size_bytes, uint32_t sector_bytes, const std::string& mkfs);
  MountedDisk(const MountedDisk&) = delete;
  MountedDisk& operator=(const MountedDisk&) = delete;
  ~MountedDisk();

  std::string path(const std::string& name) const { return mount_point_ + "/" + name; }
  std::string file(const std::string& name, uint64_t size_bytes) const;

 private:
  Scratch scratch_;
  std::string mount_point_;
};

// An ext4 whose disk has 4096-byte sectors, so that direct I/O in smaller units is refused.
struct LargeSectorDisk : MountedDisk {
  LargeSectorDisk() : MountedDisk(32 << 20, 4096, "mkfs.ext4 -q -F") {}
};

// An xfs, where files can share blocks.
struct ReflinkDisk : MountedDisk {
  ReflinkDisk() : MountedDisk(320 << 20, 512, "mkfs.xfs -q -f -m reflink=1") {}
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
