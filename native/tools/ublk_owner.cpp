// ublk-owner N: for a udev rule. Prints the user and group id of whoever made the unprivileged device N, and
// fails when there is no such device or when it was made with privilege: such a node stays as it is.
#include <cstdio>
#include <cstdlib>

#include "../src/control.hpp"

int main(int argument_count, char** arguments) {
  char* end = nullptr;
  const unsigned long device_id = argument_count == 2 ? std::strtoul(arguments[1], &end, 10) : 0;
  if (end == nullptr || end == arguments[1] || *end != '\0' || device_id > 0xffff'ffff) {
    std::fputs("usage: ublk-owner N, for /dev/ublkcN\n", stderr);
    return 2;
  }
  ublk::Control control;
  ublk::abi::DevInfo info;
  const int result = ublk::get_device_info(control, static_cast<uint32_t>(device_id), info);
  if (result < 0 || !ublk::DeviceName(info).unprivileged) return 1;
  std::printf("%u %u\n", info.owner_uid, info.owner_gid);
  return 0;
}
