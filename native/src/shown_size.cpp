#include "shown_size.hpp"

#include <cerrno>
#include <cstdio>
#include <memory>
#include <string>

namespace ublk {

namespace {

constexpr uint64_t sector_bytes = 512;

// Negative: not to be had.
int64_t read_sysfs_sectors(uint32_t device_id) {
  const std::string path = "/sys/block/ublkb" + std::to_string(device_id) + "/size";
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"), &std::fclose);
  long long sectors = -1;
  if (file == nullptr || std::fscanf(file.get(), "%lld", &sectors) != 1) return -1;
  return sectors;
}

}  // namespace

int64_t read_shown_size(Control& control, uint32_t device_id) {
  const int64_t sectors = read_sysfs_sectors(device_id);
  if (sectors >= 0) return static_cast<int64_t>(static_cast<uint64_t>(sectors) * sector_bytes);
  abi::Params params = {};
  const int result = get_params(control, device_id, params);
  return result < 0 ? result : static_cast<int64_t>(params.basic.dev_sectors * sector_bytes);
}

}  // namespace ublk
