#include "scratch.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>

namespace {

void require(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error(what + ": " + std::strerror(errno));
}

std::string make_directory() {
  std::string name = (std::filesystem::temp_directory_path() / "ublk-engine-test-XXXXXX").string();
  require(::mkdtemp(name.data()) != nullptr, "mkdtemp " + name);
  return name;
}

void run(const std::string& command) {
  require(std::system(command.c_str()) == 0, command);
}

}  // namespace

Scratch::Scratch() : directory_(make_directory()) {}

Scratch::Scratch(uint64_t tmpfs_bytes) : Scratch("tmpfs", ("size=" + std::to_string(tmpfs_bytes)).c_str()) {}

Scratch::Scratch(const char* type, const char* options) : directory_(make_directory()) {
  mounted_ = ::mount("none", directory_.c_str(), type, 0, options) == 0;
  require(mounted_, std::string("mount a ") + type + " (as root)");
}

Scratch Scratch::mounted(const char* type, const char* options) {
  return {type, options};
}

Scratch::~Scratch() {
  if (mounted_) ::umount(directory_.c_str());
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

std::string Scratch::file(const std::string& name, uint64_t size_bytes) const {
  const ublk::UniqueFd fd(::open(path(name).c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  require(fd.valid() && ::ftruncate(fd.get(), static_cast<off_t>(size_bytes)) == 0, "make " + path(name));
  return path(name);
}

MountedDisk::MountedDisk(uint64_t size_bytes, uint32_t sector_bytes, const std::string& mkfs)
    : mount_point_(scratch_.path("mount")) {
  const std::string image = scratch_.file("disk", size_bytes);
  std::filesystem::create_directory(mount_point_);
  // Detached at once: the loop device then lives as long as the mount.
  run("loop=$(losetup --find --show --sector-size " + std::to_string(sector_bytes) + " " + image + ") && " +
      mkfs + " $loop && mount $loop " + mount_point_ + "; status=$?; losetup --detach $loop; exit $status");
}

MountedDisk::~MountedDisk() {
  ::umount(mount_point_.c_str());
}

std::string MountedDisk::file(const std::string& name, uint64_t size_bytes) const {
  const ublk::UniqueFd fd(::open(path(name).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  require(fd.valid() && ::ftruncate(fd.get(), static_cast<off_t>(size_bytes)) == 0, "make " + path(name));
  return path(name);
}

LoopDisk::LoopDisk(uint64_t size_bytes, uint32_t sector_bytes) {
  const std::string name = scratch_.path("name");
  run("losetup --find --show --direct-io=on --sector-size " + std::to_string(sector_bytes) + " " +
      scratch_.file("disk", size_bytes) + " > " + name);
  std::ifstream(name) >> device_;
}

LoopDisk::~LoopDisk() {
  std::system(("losetup --detach " + device_).c_str());
}

uint64_t allocated_bytes(const std::string& path) {
  struct stat info = {};
  require(::stat(path.c_str(), &info) == 0, "stat " + path);
  return static_cast<uint64_t>(info.st_blocks) * 512;
}

std::string contents(const std::string& path, uint64_t offset_bytes, uint64_t length_bytes) {
  const ublk::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string bytes(length_bytes, '\0');
  const ssize_t got = ::pread(fd.get(), bytes.data(), length_bytes, static_cast<off_t>(offset_bytes));
  require(got == static_cast<ssize_t>(length_bytes), "read " + path);
  return bytes;
}

void overwrite(const std::string& path, uint64_t offset_bytes, const std::string& bytes) {
  const ublk::UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  const ssize_t put = ::pwrite(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset_bytes));
  require(put == static_cast<ssize_t>(bytes.size()) && ::fsync(fd.get()) == 0, "write " + path);
}
