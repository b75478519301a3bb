#include "js_lane.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "abi.hpp"

namespace ublk {

JsLane::JsLane(TargetQueue& queue, const QueueShape& shape)
    : depth_(shape.depth),
      flush_tag_(shape.depth),
      memory_(shape.buffers),
      slots_(shape.depth + 1U),
      sent_(slots_.size()),
      answered_((slots_.size() + 63) / 64),
      requests_(slots_.size() * request_fields),
      answers_(slots_.size() * answer_fields),
      queue_(&queue) {}

void JsLane::send(const Request& request) {
  Slot& slot = slots_[request.tag];
  slot.request = request;
  slot.out = true;
  const uint64_t count = sent_count_.load(std::memory_order_relaxed);
  sent_[count % sent_.size()] = request.tag;
  sent_count_.store(count + 1, std::memory_order_release);
}

size_t JsLane::take_requests() {
  const uint64_t first = taken_count_.load(std::memory_order_relaxed);
  const uint64_t end = sent_count_.load(std::memory_order_acquire);
  double* field = requests_.data();
  for (uint64_t i = first; i < end; i++) {
    Slot& slot = slots_[sent_[i % sent_.size()]];
    slot.taken = true;
    *field++ = slot.request.tag;
    *field++ = slot.request.operation;
    *field++ = static_cast<double>(slot.request.offset_bytes);
    *field++ = static_cast<double>(slot.request.length_bytes);
    *field++ = static_cast<double>(slot.request.buffer - memory_->data());
  }
  taken_count_.store(end, std::memory_order_relaxed);
  return end - first;
}

bool JsLane::give_answers(size_t count) {
  bool known = count <= slots_.size();
  for (size_t i = 0; known && i < count; i++) {
    const int32_t tag = answers_[i * answer_fields];
    known = tag >= 0 && tag <= flush_tag_ && slots_[static_cast<size_t>(tag)].taken;
    if (!known) break;
    Slot& slot = slots_[static_cast<size_t>(tag)];
    slot.taken = false;
    slot.result = answers_[i * answer_fields + 1];
    answered_[static_cast<size_t>(tag) / 64].fetch_or(1ULL << (tag % 64), std::memory_order_release);
  }
  wake_queue();
  return known;
}

bool JsLane::send_flush() {
  if (!flush_wanted_.exchange(false) || flush_is_out_) return false;
  flush_is_out_ = true;
  Request flush;
  flush.tag = flush_tag_;
  flush.operation = abi::op_flush;
  flush.buffer = memory_->data();
  send(flush);
  return true;
}

void JsLane::end_flush(int32_t result) {
  flush_is_out_ = false;
  const std::lock_guard lock(flush_mutex_);
  flush_result_ = result;
  flush_ended_.notify_all();
}

int JsLane::flush_backend(uint32_t timeout_ms) {
  std::unique_lock lock(flush_mutex_);
  flush_result_.reset();
  flush_wanted_ = true;
  wake_queue();
  const bool ended = flush_ended_.wait_for(lock, std::chrono::milliseconds(timeout_ms),
                                           [this] { return flush_result_.has_value() || lost_; });
  if (!ended) return -ETIMEDOUT;
  return flush_result_.value_or(-EIO);
}

void JsLane::close() {
  // JavaScript may keep the addresses for long: they stay valid, without the pages behind them. A backend
  // that is not done would write zeros from there over what the next server has written, so it keeps its
  // pages.
  ::munlock(memory_->data(), memory_->size());
  const bool done =
      !lost_ && std::none_of(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.out; });
  if (done) ::madvise(memory_->data(), memory_->size(), MADV_DONTNEED);
  const std::lock_guard lock(mutex_);
  queue_ = nullptr;
}

void JsLane::lose_backend() {
  {
    const std::lock_guard lock(flush_mutex_);
    lost_ = true;
    flush_ended_.notify_all();
  }
  wake_queue();
}

void JsLane::wake_queue() {
  const std::lock_guard lock(mutex_);
  if (queue_ != nullptr) queue_->ring_bell();
}

}  // namespace ublk
