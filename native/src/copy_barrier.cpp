#include "copy_barrier.hpp"

#include <utility>

namespace ublk {

void CopyBarrier::add(SharedCopy copy) {
  const std::lock_guard lock(mutex_);
  std::erase_if(copies_, [](const SharedCopy& known) { return known->ended(); });
  if (wake_) copy->set_wake(wake_);
  copies_.push_back(std::move(copy));
  version_.fetch_add(1, std::memory_order_release);
}

void CopyBarrier::connect(std::function<void()> wake) {
  const std::lock_guard lock(mutex_);
  wake_ = std::move(wake);
  for (const SharedCopy& copy : copies_) copy->set_wake(wake_);
}

void CopyBarrier::disconnect() {
  const std::lock_guard lock(mutex_);
  wake_ = nullptr;
  for (const SharedCopy& copy : copies_) copy->set_wake(nullptr);
}

std::vector<SharedCopy> CopyBarrier::copies() const {
  const std::lock_guard lock(mutex_);
  return copies_;
}

}  // namespace ublk
