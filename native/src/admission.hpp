#pragma once

#include <cstdint>
#include <vector>

#include "counters.hpp"
#include "gate.hpp"
#include "limiter.hpp"
#include "tag.hpp"
#include "waiting_room.hpp"

namespace ublk {

// Decides for one queue, on its thread, which request may go to the target, and keeps the others: all while
// the gate is closed, reads and writes beyond the limits. Reads do not wait for writes that a limit holds
// back, nor does a FLUSH, which no limit holds back.
class Admission {
 public:
  static constexpr uint64_t never = UINT64_MAX;

  // Both outlive it; null: there is none.
  Admission(Gate* gate, Limiter* limiter, uint16_t queue_id, uint16_t depth, QueueCounters& counters);

  // Notices what others have changed. Once for every pass of the queue, before its completions.
  void look(uint64_t now_ns);
  // Whether the request may go now. Otherwise it is kept.
  bool admit(Tag& tag, uint64_t now_ns) { return free_ || consider(tag, now_ns); }
  // The next of those kept that may go now, or null.
  Tag* take_due(uint64_t now_ns);
  // Once for every pass, after its completions.
  void settle(uint32_t serving_count);
  // The queue serves no more.
  void end();

  bool empty() const { return parked_.empty() && reads_.empty() && writes_.empty(); }
  // When there is something to do without a completion.
  uint64_t next_look_ns() const;

 private:
  bool consider(Tag& tag, uint64_t now_ns);
  bool consider_limits(Tag& tag, uint64_t now_ns);
  void look_at_limits(uint64_t now_ns);
  void reserve_anew(uint64_t now_ns);
  void leave(Tag& tag, uint64_t now_ns);
  void publish();
  // The one whose head may go first.
  WaitingRoom* next_room();

  Gate* const gate_;
  Limiter* const limiter_;
  const uint16_t queue_id_;
  QueueCounters& counters_;

  bool free_ = true;  // nothing is closed, limited or waiting: the usual case
  bool closed_ = false;
  bool reported_quiet_ = false;
  bool limited_ = false;
  uint64_t closed_until_ns_ = 0;
  uint32_t limits_version_ = 0;

  WaitingRoom parked_;                // by the gate, in the order of arrival
  WaitingRoom reads_, writes_;        // by a limit, in the order of their release
  std::vector<uint64_t> release_ns_;  // by tag
  std::vector<uint64_t> since_ns_;    // by tag: when a limit began to hold it back
};

}  // namespace ublk
