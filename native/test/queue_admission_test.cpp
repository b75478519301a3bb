// Requests that wait for their admission, and answers that come after a ring of the bell.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <vector>

#include "queue_rig.hpp"
#include "wait_until.hpp"

namespace ublk {
namespace {

// Admits nothing until it is opened, then everything.
class Gate : public Admission {
 public:
  explicit Gate(uint64_t closed_ns) : closed_ns_(closed_ns) {}
  uint64_t wait_ns(const Request& request) override {
    asked_++;
    const uint64_t wait = closed_ns_;
    if (wait == 0) admitted_.push_back(request.tag);
    return wait;
  }
  void open() { closed_ns_ = 0; }
  uint32_t asked() const { return asked_; }
  // Once the queue has ended.
  const std::vector<uint16_t>& admitted() const { return admitted_; }

 private:
  std::atomic<uint64_t> closed_ns_;
  std::atomic<uint32_t> asked_{0};
  std::vector<uint16_t> admitted_;
};

class QueueAdmission : public ::testing::Test {
 protected:
  const Target null_ = null_target_of(1ull << 40);
};

TEST_F(QueueAdmission, HoldsRequestsBackUntilItIsWokenInTheOrderOfTheirArrival) {
  Gate gate(Admission::until_woken);
  QueueRig rig(null_, 4, gate);
  for (const uint16_t tag : {2, 0, 3}) {
    const uint32_t asked = gate.asked();
    rig.deliver(tag, abi::op_write, 0, 8);
    ASSERT_TRUE(wait_until([&] { return gate.asked() > asked; }));
  }
  EXPECT_EQ(rig.driver().waiting_commands(), 0u);
  EXPECT_EQ(rig.queue().counters().in_flight, 0u) << "the target must not see them yet";
  gate.open();
  rig.queue().wake();
  EXPECT_EQ(rig.committed(2), 4096);
  EXPECT_EQ(rig.committed(0), 4096);
  EXPECT_EQ(rig.committed(3), 4096);
  rig.queue().drain();
  rig.queue().join();
  EXPECT_EQ(gate.admitted(), (std::vector<uint16_t>{2, 0, 3}));
}

TEST_F(QueueAdmission, AsksAgainWhenTheTimeIsOver) {
  Gate gate(1'000'000);
  QueueRig rig(null_, 1, gate);
  rig.deliver(0, abi::op_read, 0, 8);
  ASSERT_TRUE(wait_until([&] { return gate.asked() >= 3; })) << "nobody wakes the queue but its own timeout";
  gate.open();
  EXPECT_EQ(rig.committed(0), 4096);
}

TEST_F(QueueAdmission, HearsTheBellEveryTime) {
  Gate gate(Admission::until_woken);
  QueueRig rig(null_, 2, gate);
  rig.deliver(0, abi::op_read, 0, 8);
  for (int i = 0; i < 10; i++) {
    const uint32_t asked = gate.asked();
    rig.queue().wake();
    ASSERT_TRUE(wait_until([&] { return gate.asked() > asked; })) << "ring " << i;
  }
  gate.open();
  rig.queue().wake();
  EXPECT_EQ(rig.committed(0), 4096);
}

TEST_F(QueueAdmission, DrainLeavesWaitingRequestsToTheNextServer) {
  Gate gate(Admission::until_woken);
  QueueRig rig(null_, 2, gate);
  rig.deliver(0, abi::op_write, 0, 8);
  ASSERT_TRUE(wait_until([&] { return gate.asked() > 0; }));
  rig.queue().drain();
  gate.open();
  rig.queue().join();
  EXPECT_EQ(rig.driver().waiting_commands(), 0u);
}

TEST_F(QueueAdmission, AnAbortedQueueStillAnswersWhatWaits) {
  Gate gate(Admission::until_woken);
  QueueRig rig(null_, 2, gate);
  rig.deliver(0, abi::op_write, 0, 8);
  ASSERT_TRUE(wait_until([&] { return gate.asked() > 0; }));
  rig.driver().abort(0, 1);
  EXPECT_EQ(rig.ends(), 0);
  gate.open();
  rig.queue().wake();
  EXPECT_EQ(rig.committed(0), 4096);
  rig.driver().abort(0, 0);
  EXPECT_TRUE(rig.wait_for_end());
}

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

TEST_F(QueueAdmission, CommitsAnswersThatATargetGivesFromAnotherThread) {
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
