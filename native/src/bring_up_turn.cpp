#include "bring_up_turn.hpp"

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace ublk {

namespace {

constexpr std::chrono::seconds longest_wait(2);

// Never destroyed: a thread that the kernel holds may come back while the process ends.
struct Turns {
  std::mutex mutex;
  std::condition_variable ended;
  unsigned long last_number = 0;
  unsigned long current = 0;  // 0: nobody's
};

Turns& turns() {
  static auto* const all = new Turns;
  return *all;
}

}  // namespace

BringUpTurn::BringUpTurn() {
  Turns& all = turns();
  std::unique_lock lock(all.mutex);
  number_ = ++all.last_number;
  all.ended.wait_for(lock, longest_wait, [&all] { return all.current == 0; });
  all.current = number_;
}

BringUpTurn::~BringUpTurn() {
  Turns& all = turns();
  const std::lock_guard lock(all.mutex);
  // Somebody who waited too long may have taken it.
  if (all.current == number_) all.current = 0;
  all.ended.notify_one();
}

}  // namespace ublk
