#include "bus_guard.hpp"

#include <setjmp.h>
#include <signal.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>

namespace ublk {

namespace {

// Set while this thread is inside a guarded access. Plain data: a signal handler may read it. Volatile, since
// the compiler cannot see that reader and would drop the store before the access.
thread_local sigjmp_buf* volatile active_guard = nullptr;
struct sigaction previous_action = {};

void on_bus_error(int signal, siginfo_t* info, void* context) {
  if (active_guard != nullptr) siglongjmp(*active_guard, 1);
  if ((previous_action.sa_flags & SA_SIGINFO) != 0) {
    previous_action.sa_sigaction(signal, info, context);
  } else if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
    previous_action.sa_handler(signal);
  } else {
    // Returning repeats the access, this time with the default action: the fault is reported where it
    // happened.
    ::signal(SIGBUS, SIG_DFL);
  }
}

int install() {
  struct sigaction action = {};
  action.sa_sigaction = on_bus_error;
  // SA_NODEFER: the jump leaves the handler without restoring the mask, so the mask must not have changed.
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  return ::sigaction(SIGBUS, &action, &previous_action) < 0 ? -errno : 0;
}

template <typename Access>
int guarded(Access access) {
  sigjmp_buf guard;
  if (sigsetjmp(guard, 0) != 0) {
    active_guard = nullptr;
    return -ENOSPC;
  }
  active_guard = &guard;
  // Volatile alone does not order the access itself between the two stores.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  access();
  std::atomic_signal_fence(std::memory_order_seq_cst);
  active_guard = nullptr;
  return 0;
}

}  // namespace

int install_bus_guard() {
  static std::once_flag once;
  static int result = 0;
  std::call_once(once, [] { result = install(); });
  return result;
}

int guarded_copy(std::byte* to, const std::byte* from, size_t length_bytes) {
  return guarded([=] { std::memcpy(to, from, length_bytes); });
}

int guarded_zero(std::byte* to, size_t length_bytes) {
  return guarded([=] { std::memset(to, 0, length_bytes); });
}

}  // namespace ublk
