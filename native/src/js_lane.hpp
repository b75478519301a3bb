#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "mapping.hpp"
#include "tag.hpp"
#include "target.hpp"

namespace ublk {

// The way of one queue's requests to a backend in JavaScript, and of its answers back. Neither side ever
// waits for the other. Every tag has at most one request out, so that nothing here grows.
class JsLane {
 public:
  // A request as JavaScript reads it: numbers in this order.
  static constexpr size_t request_fields = 5;  // tag, operation, offset, length, place in the memory
  // An answer as JavaScript writes it: the tag, and 0 or a negative errno.
  static constexpr size_t answer_fields = 2;

  JsLane(TargetQueue& queue, const QueueShape& shape);

  // On the queue's thread.
  void send(const Request& request);
  // Calls `give(request, result)` for every answer that has come.
  template <typename Give>
  void take_answers(Give give);
  // Calls `give(tag)` for every request that is still out.
  template <typename Give>
  void take_unanswered(Give give);
  // Sends the flush that somebody waits for in `flush_backend`. False when there is none.
  bool send_flush();
  // The queue ends: its bell is rung no more, and its memory is empty from now on.
  void close();

  // On the JavaScript thread: writes requests into `requests()` and says how many.
  size_t take_requests();
  // Takes `count` answers from `answers()`. False when one of them answers nothing that was taken.
  bool give_answers(size_t count);
  std::vector<double>& requests() { return requests_; }
  std::vector<int32_t>& answers() { return answers_; }
  // What the places in the memory refer to. Whoever shows it to others shares it.
  const std::shared_ptr<Mapping>& memory() const { return memory_; }

  // Any thread but those two: a flush of the backend beside the requests of the kernel. 0 or a negative
  // errno.
  int flush_backend(uint32_t timeout_ms);
  // Any thread.
  void lose_backend();
  bool backend_lost() const { return lost_; }

 private:
  struct Slot {
    Request request;
    int32_t result = 0;
    bool out = false;    // the queue's thread: sent, and not answered
    bool taken = false;  // the JavaScript thread: taken, and not answered
  };

  void wake_queue();
  void end_flush(int32_t result);

  const uint16_t depth_;
  const uint16_t flush_tag_;  // the one after the kernel's
  const std::shared_ptr<Mapping> memory_;
  std::vector<Slot> slots_;
  // Tags sent, in order: one writer, one reader, room for every tag.
  std::vector<uint16_t> sent_;
  std::atomic<uint64_t> sent_count_{0};
  std::atomic<uint64_t> taken_count_{0};
  // A bit for each tag whose result is written.
  std::vector<std::atomic<uint64_t>> answered_;
  std::atomic<bool> lost_{false};
  std::vector<double> requests_;
  std::vector<int32_t> answers_;
  std::atomic<bool> flush_wanted_{false};
  bool flush_is_out_ = false;  // the queue's thread
  std::mutex flush_mutex_;
  std::condition_variable flush_ended_;
  std::optional<int32_t> flush_result_;
  std::mutex mutex_;  // of the pointer, so that the queue may go while JavaScript answers
  TargetQueue* queue_;
};

template <typename Give>
void JsLane::take_answers(Give give) {
  for (size_t word = 0; word < answered_.size(); word++) {
    for (uint64_t bits = answered_[word].exchange(0, std::memory_order_acquire); bits != 0;
         bits &= bits - 1) {
      const auto tag = static_cast<uint16_t>(word * 64 + static_cast<size_t>(__builtin_ctzll(bits)));
      slots_[tag].out = false;
      if (tag == flush_tag_) {
        end_flush(slots_[tag].result);
      } else {
        give(slots_[tag].request, slots_[tag].result);
      }
    }
  }
}

template <typename Give>
void JsLane::take_unanswered(Give give) {
  for (uint16_t tag = 0; tag < depth_; tag++) {
    if (!slots_[tag].out) continue;
    slots_[tag].out = false;
    give(tag);
  }
}

}  // namespace ublk
