#include "image_lock.hpp"

#include <fcntl.h>

#include <cerrno>

namespace ublk {

int lock_image(int fd, bool read_only) {
  struct flock whole = {};  // no process id: that is what open file description locks demand
  whole.l_type = static_cast<short>(read_only ? F_RDLCK : F_WRLCK);
  whole.l_whence = SEEK_SET;
  if (::fcntl(fd, F_OFD_SETLK, &whole) == 0) return 0;
  return errno == EACCES ? -EAGAIN : -errno;  // POSIX allows either for a lock that is taken
}

}  // namespace ublk
