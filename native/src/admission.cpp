#include "admission.hpp"

#include <algorithm>

#include "abi.hpp"

namespace ublk {

namespace {

bool changes_target(const Request& request) {
  return request.operation != abi::op_read && request.operation != abi::op_flush;
}

}  // namespace

Admission::Admission(const Reasons& reasons, uint16_t queue_id, uint16_t depth, QueueCounters& counters)
    : gate_(reasons.gate),
      limiter_(reasons.limiter),
      barrier_(reasons.copies),
      queue_id_(queue_id),
      counters_(counters),
      parked_(depth),
      reads_(depth),
      writes_(depth),
      uncopied_(depth),
      release_ns_(depth),
      since_ns_(depth) {}

void Admission::look(uint64_t now_ns) {
  const uint64_t until_ns = gate_ == nullptr ? 0 : gate_->closed_until_ns();
  if (until_ns != closed_until_ns_) {
    closed_until_ns_ = until_ns;
    reported_quiet_ = false;
  }
  closed_ = until_ns != 0 && now_ns < until_ns;
  if (until_ns != 0 && !closed_) gate_->expire(until_ns);
  if (limiter_ != nullptr && limiter_->version() != limits_version_) look_at_limits(now_ns);
  // After the gate: who sees it open again sees the copies that were added while it was closed.
  if (barrier_ != nullptr && barrier_->version() != copies_version_) look_at_copies();
  if (!copies_.empty()) std::erase_if(copies_, [](const SharedCopy& copy) { return copy->ended(); });
  unasked_count_ = uncopied_.count();
  free_ = !closed_ && !limited_ && copies_.empty() && empty();
}

// What waits for the other copies waits for a new one too.
void Admission::look_at_copies() {
  copies_version_ = barrier_->version();
  copies_ = barrier_->copies();
  for (size_t i = 0; i < uncopied_.count(); i++) {
    const Request& request = uncopied_.at(i).request;
    for (const SharedCopy& copy : copies_) copy->hurry(request.offset_bytes, request.length_bytes);
  }
}

void Admission::look_at_limits(uint64_t now_ns) {
  limits_version_ = limiter_->version();
  limited_ = limiter_->active();
  reserve_anew(now_ns);
}

// In the order of arrival over both rooms, so that the ceilings that they share treat them alike.
void Admission::reserve_anew(uint64_t now_ns) {
  size_t read = 0;
  size_t written = 0;
  while (read < reads_.count() || written < writes_.count()) {
    const bool takes_read = written == writes_.count() ||
                            (read < reads_.count() && since_ns_[reads_.at(read).request.tag] <=
                                                          since_ns_[writes_.at(written).request.tag]);
    const Request& request = (takes_read ? reads_.at(read++) : writes_.at(written++)).request;
    release_ns_[request.tag] = limited_ ? limiter_->reserve(request, now_ns) : now_ns;
  }
}

bool Admission::consider(Tag& tag, uint64_t now_ns) {
  if (!closed_ && parked_.empty()) return consider_limits(tag, now_ns);
  parked_.push(tag);
  publish();
  return false;
}

bool Admission::consider_limits(Tag& tag, uint64_t now_ns) {
  const Request& request = tag.request;
  if (!limited_ || request.operation == abi::op_flush) return consider_copies(tag);
  WaitingRoom& room = request.operation == abi::op_read ? reads_ : writes_;
  const uint64_t release_ns = limiter_->reserve(request, now_ns);
  if (release_ns <= now_ns && room.empty()) return consider_copies(tag);
  release_ns_[request.tag] = release_ns;
  since_ns_[request.tag] = now_ns;
  room.push(tag);
  publish();
  return false;
}

// The last question before the target: what a copy lets pass now, another may hold back a moment later.
bool Admission::consider_copies(Tag& tag) {
  const Request& request = tag.request;
  if (copies_.empty() || !changes_target(request) || is_copied(request)) return true;
  for (const SharedCopy& copy : copies_) copy->hurry(request.offset_bytes, request.length_bytes);
  uncopied_.push(tag);
  publish();
  return false;
}

bool Admission::is_copied(const Request& request) const {
  return std::all_of(copies_.begin(), copies_.end(), [&request](const SharedCopy& copy) {
    return copy->lets_change(request.offset_bytes, request.length_bytes);
  });
}

Tag* Admission::take_due(uint64_t now_ns) {
  if (closed_ || empty()) return nullptr;
  Tag* due = take_parked(now_ns);
  if (due == nullptr) due = take_copied();
  return due == nullptr ? take_released(now_ns) : due;
}

Tag* Admission::take_parked(uint64_t now_ns) {
  while (!parked_.empty()) {
    Tag& tag = parked_.pop();
    publish();
    if (consider_limits(tag, now_ns)) return &tag;
  }
  return nullptr;
}

// Each of them is asked for once in a pass; the copies ring when there is something new to hear.
Tag* Admission::take_copied() {
  while (unasked_count_ > 0) {
    unasked_count_--;
    Tag& tag = uncopied_.pop();
    if (is_copied(tag.request)) {
      publish();
      return &tag;
    }
    uncopied_.push(tag);
  }
  return nullptr;
}

Tag* Admission::take_released(uint64_t now_ns) {
  for (;;) {
    WaitingRoom* room = next_room();
    if (room == nullptr || release_ns_[room->front().request.tag] > now_ns) return nullptr;
    Tag& tag = room->pop();
    leave(tag, now_ns);
    if (consider_copies(tag)) return &tag;
  }
}

void Admission::leave(Tag& tag, uint64_t now_ns) {
  counters_.count_throttled(now_ns - since_ns_[tag.request.tag]);
  publish();
}

WaitingRoom* Admission::next_room() {
  if (reads_.empty()) return writes_.empty() ? nullptr : &writes_;
  if (writes_.empty()) return &reads_;
  const uint64_t read_ns = release_ns_[reads_.front().request.tag];
  return read_ns <= release_ns_[writes_.front().request.tag] ? &reads_ : &writes_;
}

uint64_t Admission::next_look_ns() const {
  if (closed_) return closed_until_ns_ < Gate::first_hold_ns ? closed_until_ns_ : never;
  uint64_t next_ns = never;
  if (!reads_.empty()) next_ns = release_ns_[reads_.front().request.tag];
  if (!writes_.empty()) next_ns = std::min(next_ns, release_ns_[writes_.front().request.tag]);
  return next_ns;
}

void Admission::settle(uint32_t serving_count) {
  if (!closed_ || reported_quiet_ || serving_count != 0) return;
  reported_quiet_ = true;
  gate_->report_quiet(queue_id_, closed_until_ns_);
}

void Admission::end() {
  if (gate_ != nullptr) gate_->report_ended(queue_id_);
}

void Admission::publish() {
  const size_t count = parked_.count() + reads_.count() + writes_.count() + uncopied_.count();
  counters_.waiting.store(static_cast<uint32_t>(count), std::memory_order_relaxed);
}

}  // namespace ublk
