#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <vector>

#include "image_copy.hpp"

namespace ublk {

// The copies of the image below one device, which its queues ask before they change something.
class CopyBarrier {
 public:
  // From the next look of a queue on it asks this copy too. While the gate is closed, or before the queues
  // start.
  void add(SharedCopy copy);
  // Whom the copies wake: all of them, also those that are added later.
  void connect(std::function<void()> wake);
  // Nobody is woken any more. The copies go on.
  void disconnect();

  // For the queues' threads: changes with every copy that is added.
  uint32_t version() const { return version_.load(std::memory_order_acquire); }
  // Those that may hold something back.
  std::vector<SharedCopy> copies() const;

 private:
  mutable std::mutex mutex_;
  std::vector<SharedCopy> copies_;
  std::function<void()> wake_;
  std::atomic<uint32_t> version_{0};
};

}  // namespace ublk
