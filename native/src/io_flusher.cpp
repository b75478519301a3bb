#include "io_flusher.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "unique_fd.hpp"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

namespace ublk {

namespace {

constexpr uint64_t pf_memalloc_noio = 0x0008'0000;  // include/linux/sched.h

// proc_pid_stat(5): field 9, counted after the closing parenthesis of the command name, which may hold
// anything.
int read_task_flags(uint64_t& flags) {
  const UniqueFd stat(::open("/proc/thread-self/stat", O_RDONLY | O_CLOEXEC));
  std::array<char, 512> text = {};
  if (!stat.valid() || ::read(stat.get(), text.data(), text.size() - 1) <= 0) return -errno;
  const char* rest = std::strrchr(text.data(), ')');
  unsigned long long value = 0;
  if (rest == nullptr || std::sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %llu", &value) != 1) return -EPROTO;
  flags = value;
  return 0;
}

}  // namespace

int become_io_flusher() {
  if (::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0) return errno == EPERM ? 0 : -errno;
  uint64_t flags = 0;
  const int result = read_task_flags(flags);
  if (result < 0) return result;
  return (flags & pf_memalloc_noio) != 0 ? 0 : -EPROTO;
}

}  // namespace ublk
