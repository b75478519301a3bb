#include "gate.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "clock.hpp"

namespace ublk {

int Gate::close(uint64_t until_ns, bool announced) {
  std::unique_lock lock(mutex_);
  while (held()) {
    const uint64_t now_ns = monotonic_ns();
    if (now_ns >= until_ns) return -ETIMEDOUT;
    changed_.wait_for(lock, std::chrono::nanoseconds(until_ns - now_ns));
  }
  if (sealed_) return -ESHUTDOWN;
  if (closed()) return -EALREADY;
  announced_ = announced;
  until_ns_.store(until_ns, std::memory_order_release);
  return 0;
}

int Gate::hold() {
  const std::lock_guard lock(mutex_);
  if (sealed_) return -ESHUTDOWN;
  if (closed()) return -EALREADY;
  // Each hold has a name of its own, so that no queue's report of an earlier one is taken for this one's.
  until_ns_.store(first_hold_ns + hold_count_++, std::memory_order_release);
  return 0;
}

int Gate::wait_until_held(uint64_t quiet_by_ns) {
  std::unique_lock lock(mutex_);
  const uint64_t name = closed_until_ns();
  while (!all_quiet(name)) {
    const uint64_t now_ns = monotonic_ns();
    if (now_ns >= quiet_by_ns) return -ETIMEDOUT;
    changed_.wait_for(lock, std::chrono::nanoseconds(quiet_by_ns - now_ns));
  }
  return 0;
}

void Gate::end_hold() {
  const std::lock_guard lock(mutex_);
  until_ns_.store(0, std::memory_order_release);
  changed_.notify_all();
}

int Gate::wait_until_quiet() {
  std::unique_lock lock(mutex_);
  const uint64_t until_ns = closed_until_ns();
  while (closed() && closed_until_ns() == until_ns) {
    if (all_quiet(until_ns)) return 0;
    const uint64_t now_ns = monotonic_ns();
    if (now_ns < until_ns) changed_.wait_for(lock, std::chrono::nanoseconds(until_ns - now_ns));
  }
  return until_ns != 0 && monotonic_ns() >= until_ns ? -ETIMEDOUT : -ECANCELED;
}

bool Gate::all_quiet(uint64_t until_ns) const {
  return std::all_of(queues_.begin(), queues_.end(), [until_ns](const QueueReport& queue) {
    return queue.ended || queue.quiet_until_ns == until_ns;
  });
}

bool Gate::open(uint64_t until_ns) {
  const std::lock_guard lock(mutex_);
  return open_locked(until_ns);
}

bool Gate::open_locked(uint64_t until_ns) {
  if (held()) return false;
  if (until_ns != 0 && closed_until_ns() != until_ns) return false;
  const bool was_closed = closed();
  until_ns_.store(0, std::memory_order_release);
  changed_.notify_all();
  return was_closed;
}

bool Gate::closed() const {
  const uint64_t until_ns = closed_until_ns();
  return until_ns != 0 && monotonic_ns() < until_ns;
}

void Gate::seal() {
  const std::lock_guard lock(mutex_);
  open_locked();
  sealed_ = true;
}

void Gate::unseal() {
  const std::lock_guard lock(mutex_);
  sealed_ = false;
}

void Gate::expire(uint64_t until_ns) {
  // Of the queues that notice, one is the first.
  if (!until_ns_.compare_exchange_strong(until_ns, 0)) return;
  const std::lock_guard lock(mutex_);
  changed_.notify_all();
  if (announced_ && on_expired_) on_expired_();
}

void Gate::report_quiet(uint16_t queue_id, uint64_t until_ns) {
  const std::lock_guard lock(mutex_);
  queues_[queue_id].quiet_until_ns = until_ns;
  changed_.notify_all();
}

void Gate::report_ended(uint16_t queue_id) {
  const std::lock_guard lock(mutex_);
  queues_[queue_id].ended = true;
  changed_.notify_all();
}

}  // namespace ublk
