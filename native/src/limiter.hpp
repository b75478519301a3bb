#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "tag.hpp"

namespace ublk {

// Ceilings per second; 0: none. After an idle time as much may pass at once as belongs to `burst_ms`.
struct Limits {
  uint64_t read_iops = 0;
  uint64_t write_iops = 0;
  uint64_t iops = 0;
  uint64_t read_bytes = 0;
  uint64_t write_bytes = 0;
  uint64_t bytes = 0;
  uint32_t burst_ms = 20;
};

// One ceiling, shared by all queues of a device without a lock. Who comes is given the time at which it may
// pass, one after the other, and keeps that place: being woken late costs nothing of the rate.
class Bucket {
 public:
  void set(uint64_t rate) {
    rate_.store(rate, std::memory_order_relaxed);
    next_ns_.store(0, std::memory_order_relaxed);
  }
  // When `units` may pass; not after `now_ns` means at once.
  uint64_t reserve(uint64_t units, uint64_t now_ns, uint64_t burst_ns);

 private:
  std::atomic<uint64_t> rate_{0};
  std::atomic<uint64_t> next_ns_{0};
};

// The limits of one device. `reserve` is for the queues' threads; the rest is for any.
class Limiter {
 public:
  void set(const Limits& limits);
  // No limit until resume(): a device that stops writes everything back first.
  void suspend();
  void resume();

  bool active() const { return active_.load(std::memory_order_relaxed); }
  // Another number after every change: what waits has to reserve anew.
  uint32_t version() const { return version_.load(std::memory_order_acquire); }
  // When the request may go to the target; not after `now_ns` means at once.
  uint64_t reserve(const Request& request, uint64_t now_ns);

 private:
  void apply(const Limits& limits);

  std::mutex mutex_;  // of `wanted_`
  Limits wanted_;
  bool suspended_ = false;
  std::atomic<bool> active_{false};
  std::atomic<uint32_t> version_{0};
  std::atomic<uint64_t> burst_ns_{0};
  Bucket read_iops_, write_iops_, iops_, read_bytes_, write_bytes_, bytes_;
};

}  // namespace ublk
