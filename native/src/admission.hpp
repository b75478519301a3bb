#pragma once

#include <cstdint>
#include <vector>

#include "copy_barrier.hpp"
#include "counters.hpp"
#include "gate.hpp"
#include "limiter.hpp"
#include "tag.hpp"
#include "waiting_room.hpp"

namespace ublk {

// What may hold requests back. They outlive the queue; null: there is none.
struct Reasons {
  Gate* gate = nullptr;
  Limiter* limiter = nullptr;
  CopyBarrier* copies = nullptr;
};

// Decides for one queue, on its thread, which request may go to the target, and keeps the others: all while
// the gate is closed, reads and writes beyond the limits, and what would change a piece of the image that is
// still to be copied. Reads do not wait for writes that a limit holds back, nor does a FLUSH, which no limit
// holds back; neither of them waits for a copy.
class Admission {
 public:
  static constexpr uint64_t never = UINT64_MAX;

  Admission(const Reasons& reasons, uint16_t queue_id, uint16_t depth, QueueCounters& counters);

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

  bool empty() const { return parked_.empty() && reads_.empty() && writes_.empty() && uncopied_.empty(); }
  // When there is something to do without a completion.
  uint64_t next_look_ns() const;

 private:
  bool consider(Tag& tag, uint64_t now_ns);
  bool consider_limits(Tag& tag, uint64_t now_ns);
  bool consider_copies(Tag& tag);
  bool is_copied(const Request& request) const;
  Tag* take_parked(uint64_t now_ns);
  Tag* take_copied();
  Tag* take_released(uint64_t now_ns);
  void look_at_copies();
  void look_at_limits(uint64_t now_ns);
  void reserve_anew(uint64_t now_ns);
  void leave(Tag& tag, uint64_t now_ns);
  void publish();
  // The one whose head may go first.
  WaitingRoom* next_room();

  Gate* const gate_;
  Limiter* const limiter_;
  CopyBarrier* const barrier_;
  const uint16_t queue_id_;
  QueueCounters& counters_;

  bool free_ = true;  // nothing is closed, limited or waiting: the usual case
  bool closed_ = false;
  bool reported_quiet_ = false;
  bool limited_ = false;
  uint64_t closed_until_ns_ = 0;
  uint32_t limits_version_ = 0;
  uint32_t copies_version_ = 0;
  std::vector<SharedCopy> copies_;  // those that have not ended
  size_t unasked_count_ = 0;        // of `uncopied_`: not asked for in this pass

  WaitingRoom parked_;                // by the gate, in the order of arrival
  WaitingRoom reads_, writes_;        // by a limit, in the order of their release
  WaitingRoom uncopied_;              // by a copy
  std::vector<uint64_t> release_ns_;  // by tag
  std::vector<uint64_t> since_ns_;    // by tag: when a limit began to hold it back
};

}  // namespace ublk
