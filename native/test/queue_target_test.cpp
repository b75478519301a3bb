// What a queue offers to targets that keep something for each queue, or whose answers come from elsewhere.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <vector>

#include "queue_rig.hpp"
#include "wait_until.hpp"

namespace ublk {
namespace {

// Counts its calls, and keeps every request until its queue drains.
struct Keeper : TargetState {
  static inline std::atomic<int> alive = 0;
  static inline std::atomic<int> passes = 0;
  static inline std::atomic<int> open_result = 0;
  static inline QueueShape shape;

  Keeper() { alive++; }
  ~Keeper() override { alive--; }
  std::vector<uint16_t> kept;
};

int open_keeper(const Target&, TargetQueue& queue, const QueueShape& shape) {
  Keeper::shape = shape;
  if (Keeper::open_result == 0) queue.state = std::make_unique<Keeper>();
  return Keeper::open_result;
}

Keeper& keeper_of(TargetQueue& queue) {
  return static_cast<Keeper&>(*queue.state);
}

int64_t keep_io(const Target&, TargetQueue& queue, Request& request) {
  keeper_of(queue).kept.push_back(request.tag);
  return answer_later;
}

void abandon_what_is_kept(const Target&, TargetQueue& queue) {
  if (!queue.draining()) return;
  for (const uint16_t tag : keeper_of(queue).kept) queue.abandon(tag);
}

const TargetOps keeper_ops = {.name = "keeper",
                              .open = nullptr,
                              .queue_io = keep_io,
                              .complete_io = nullptr,
                              .open_queue = open_keeper,
                              .end_pass = [](const Target&, TargetQueue&) { Keeper::passes++; },
                              .on_bell = abandon_what_is_kept};

class QueueTarget : public ::testing::Test {
 protected:
  QueueTarget() {
    target_.ops = &keeper_ops;
    Keeper::passes = 0;
    Keeper::open_result = 0;
  }
  ~QueueTarget() override { Keeper::shape = {}; }
  Target target_;
};

TEST_F(QueueTarget, KeepsItsStateAsLongAsTheQueueServes) {
  {
    QueueRig rig(target_, 3, 5);
    EXPECT_EQ(Keeper::alive, 1);
    EXPECT_EQ(Keeper::shape.queue_id, 5);
    EXPECT_EQ(Keeper::shape.depth, 3);
    EXPECT_LE(Keeper::shape.buffers->data(), rig.buffer(0));
    EXPECT_EQ(Keeper::shape.buffers->size(), 3 * QueueRig::max_io_bytes);
    rig.queue().drain();
    rig.queue().join();
    EXPECT_EQ(Keeper::alive, 0);
  }
  EXPECT_NE(Keeper::shape.buffers->data(), nullptr) << "whoever shares the buffers may outlive the queue";
}

TEST_F(QueueTarget, HearsTheEndOfEveryPass) {
  QueueRig rig(target_, 2);
  rig.deliver(0, abi::op_read, 0, 8);
  ASSERT_TRUE(wait_until([] { return Keeper::passes > 0; }));
  EXPECT_EQ(rig.queue().counters().in_flight, 1u);
}

TEST_F(QueueTarget, LeavesAbandonedRequestsToTheNextServer) {
  QueueRig rig(target_, 4);
  rig.deliver(0, abi::op_write, 0, 8);
  rig.deliver(1, abi::op_read, 0, 8);
  ASSERT_TRUE(wait_until([&] { return rig.queue().counters().in_flight == 2; }));
  rig.queue().drain();
  rig.queue().join();
  EXPECT_EQ(rig.driver().waiting_commands(), 0u) << "nothing may be committed for them";
  EXPECT_EQ(rig.queue().counters().in_flight, 0u);
}

}  // namespace
}  // namespace ublk
