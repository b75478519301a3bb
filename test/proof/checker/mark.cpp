#include "mark.hpp"

#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

namespace checker {

namespace {

// A dm_target_msg with room for its text, in memory that the kernel may write its answer into.
struct MessageRequest {
  dm_ioctl header;
  uint64_t sector;
  std::array<char, 256> text;
};
static_assert(offsetof(MessageRequest, text) - offsetof(MessageRequest, sector) ==
              offsetof(dm_target_msg, message));

}  // namespace

int set_mark(const std::string& device_name, const std::string& mark) {
  const std::string text = "mark " + mark;
  MessageRequest request = {};
  if (device_name.size() >= sizeof(request.header.name) || text.size() >= request.text.size())
    return -ENAMETOOLONG;
  request.header.version[0] = DM_VERSION_MAJOR;
  request.header.data_size = sizeof(request);
  request.header.data_start = offsetof(MessageRequest, sector);
  std::memcpy(request.header.name, device_name.c_str(), device_name.size());
  std::memcpy(request.text.data(), text.c_str(), text.size());
  const int control = ::open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
  if (control < 0) return -errno;
  const int result = ::ioctl(control, DM_TARGET_MSG, &request) < 0 ? -errno : 0;
  ::close(control);
  return result;
}

}  // namespace checker
