#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <vector>

namespace ublk {

// Holds back the requests of all queues of one device for a time. It is closed until a moment that every
// queue compares with its own clock, so that it opens on time though nobody is left to open it. Whoever
// closes or opens it wakes the queues. Work on the target itself holds it instead, however long that takes.
class Gate {
 public:
  // Called on a queue's thread when the time was over before anybody opened it; must not block.
  explicit Gate(std::function<void()> on_expired = nullptr) : on_expired_(std::move(on_expired)) {}
  // Before the queues start.
  void set_queue_count(uint16_t count) { queues_.assign(count, {}); }

  // From here on a moment is no time but the name of a hold.
  static constexpr uint64_t first_hold_ns = UINT64_MAX - (1ULL << 32);

  // -EALREADY while it is closed, -ESHUTDOWN when it is sealed. `announced`: its expiry is told. Waits while
  // it is held, until that moment at most: -ETIMEDOUT.
  int close(uint64_t until_ns, bool announced);
  // Closes it for as long as it takes: neither a moment nor open() ends that, only end_hold(). As close().
  int hold();
  // Waits until no queue has a request in its target: 0, or -ETIMEDOUT when one still has at that moment.
  int wait_until_held(uint64_t quiet_by_ns);
  void end_hold();
  // Waits until no queue has a request in its target: 0, -ETIMEDOUT when the time was over before, or
  // -ECANCELED when somebody opened it.
  int wait_until_quiet();
  // Whether it was closed until now. One that is held stays closed, and with a moment one that is closed
  // until another.
  bool open(uint64_t until_ns = 0);
  bool closed() const;
  // Opens it, and it cannot be closed until unseal(): the device stops.
  void seal();
  void unseal();

  // For the queues' threads. 0: open.
  uint64_t closed_until_ns() const { return until_ns_.load(std::memory_order_acquire); }
  void expire(uint64_t until_ns);
  // The queue has seen the closed gate and has no request in its target.
  void report_quiet(uint16_t queue_id, uint64_t until_ns);
  // The queue has ended and is quiet for ever.
  void report_ended(uint16_t queue_id);

 private:
  struct QueueReport {
    uint64_t quiet_until_ns = 0;
    bool ended = false;
  };
  bool held() const { return closed_until_ns() >= first_hold_ns; }
  bool open_locked(uint64_t until_ns = 0);
  bool all_quiet(uint64_t until_ns) const;

  const std::function<void()> on_expired_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<QueueReport> queues_;
  std::atomic<uint64_t> until_ns_{0};
  bool sealed_ = false;
  bool announced_ = false;
  uint32_t hold_count_ = 0;
};

}  // namespace ublk
