// Answers that come after a ring of the bell.
#include <gtest/gtest.h>

#include <mutex>
#include <vector>

#include "queue_rig.hpp"
#include "wait_until.hpp"

namespace ublk {
namespace {

// A target whose answers come from another thread.
struct Elsewhere {
  std::mutex mutex;
  TargetQueue* queue = nullptr;
  std::vector<std::pair<uint16_t, int64_t>> answers;
};
Elsewhere elsewhere;

int64_t note_queue(const Target&, TargetQueue& queue, Request&) {
  const std::lock_guard lock(elsewhere.mutex);
  elsewhere.queue = &queue;
  return answer_later;
}

void take_answers(const Target&, TargetQueue& queue) {
  const std::lock_guard lock(elsewhere.mutex);
  for (const auto& [tag, result] : elsewhere.answers) queue.answer(tag, result);
  elsewhere.answers.clear();
}

const TargetOps distant_ops = {.name = "distant",
                               .open = nullptr,
                               .queue_io = note_queue,
                               .complete_io = nullptr,
                               .on_bell = take_answers};

TEST(QueueAnswers, CommitsAnswersThatATargetGivesFromAnotherThread) {
  Target target;
  target.ops = &distant_ops;
  QueueRig rig(target, 2);
  rig.deliver(1, abi::op_read, 0, 8);
  rig.deliver(0, abi::op_write, 0, 8);
  ASSERT_TRUE(wait_until([&] { return rig.queue().counters().in_flight == 2; }));
  const auto answer = [](uint16_t tag, int64_t result) {
    const std::lock_guard lock(elsewhere.mutex);
    elsewhere.answers.emplace_back(tag, result);
    elsewhere.queue->ring_bell();
  };
  answer(1, 4096);
  EXPECT_EQ(rig.committed(1), 4096);
  answer(0, -EIO);
  EXPECT_EQ(rig.committed(0), -EIO);
  EXPECT_EQ(rig.queue().counters().in_flight, 0u);
}

}  // namespace
}  // namespace ublk
