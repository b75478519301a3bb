#include "bell.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <tuple>

#include "mark.hpp"

namespace ublk {

Bell::Bell() : event_(::eventfd(0, EFD_CLOEXEC)) {}

void Bell::ring() {
  const std::lock_guard lock(mutex_);
  const uint64_t one = 1;
  // An eventfd write of one fails only when the counter is full, and then the thread is awake anyway.
  if (valid()) std::ignore = ::write(event_.get(), &one, sizeof(one));
}

void Bell::close() {
  const std::lock_guard lock(mutex_);
  event_.reset();
}

bool Bell::watch(Ring& ring) {
  io_uring_sqe* sqe = ring.next_sqe();
  if (sqe == nullptr) return false;
  io_uring_prep_read(sqe, event_.get(), &value_, sizeof(value_), 0);
  sqe->user_data = to_user_data(Mark::bell);
  return true;
}

}  // namespace ublk
