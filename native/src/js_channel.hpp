#pragma once

#include <atomic>
#include <cerrno>
#include <memory>
#include <mutex>
#include <vector>

#include "js_lane.hpp"

namespace ublk {

// What a backend can do beyond reading and writing.
struct JsAbilities {
  bool flush = false;
  bool trim = false;
  bool write_zeroes = false;
};

// Between the queues of one device and the backend in JavaScript that serves it. How JavaScript is reached is
// known to the implementation only.
class JsChannel {
 public:
  explicit JsChannel(JsAbilities abilities) : abilities_(abilities) {}
  virtual ~JsChannel() = default;

  const JsAbilities& abilities() const { return abilities_; }

  // On a queue's thread, before its first request.
  void add(const std::shared_ptr<JsLane>& lane) {
    const std::lock_guard lock(mutex_);
    lanes_.push_back(lane);
    if (lost_) lane->lose_backend();
  }
  // On a queue's thread: there are requests to take. Once for a batch, and not again until they are taken.
  void announce() {
    if (!announced_.exchange(true)) call_backend();
  }
  // The kernel's requests are held back: makes durable what the backend has answered. Not on a queue's
  // thread.
  int flush(uint32_t timeout_ms) {
    std::shared_ptr<JsLane> lane;
    {
      const std::lock_guard lock(mutex_);
      if (!lanes_.empty()) lane = lanes_.front();
    }
    return lane == nullptr ? -EIO : lane->flush_backend(timeout_ms);
  }
  // Nobody will answer any more, since the event loop has ended or the backend is given up. Requests wait
  // until their queue drains, and go to the next server then. Any thread.
  void lose() {
    const std::lock_guard lock(mutex_);
    lost_ = true;
    for (const auto& lane : lanes_) lane->lose_backend();
  }

 protected:
  // Has the JavaScript thread call `lanes_to_serve` and take what they hold. Any thread; must not wait.
  virtual void call_backend() = 0;
  std::vector<std::shared_ptr<JsLane>> lanes_to_serve() {
    announced_ = false;
    const std::lock_guard lock(mutex_);
    return lanes_;
  }

 private:
  const JsAbilities abilities_;
  std::atomic<bool> announced_{false};
  std::mutex mutex_;
  bool lost_ = false;
  std::vector<std::shared_ptr<JsLane>> lanes_;
};

}  // namespace ublk
