// Requests that a queue holds back, for a closed gate or for a limit.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "clock.hpp"
#include "queue_rig.hpp"
#include "wait_until.hpp"

namespace ublk {
namespace {

constexpr uint64_t hour_ns = 3600 * ns_per_second;

class QueueAdmission : public ::testing::Test {
 protected:
  QueueAdmission() { gate_.set_queue_count(1); }

  int close_gate(uint64_t duration_ns = hour_ns) { return gate_.close(monotonic_ns() + duration_ns, true); }
  // As `QueueRig::deliver`, and waits until the queue holds the request back.
  void deliver_in_vain(QueueRig& rig, uint16_t tag, uint8_t operation) {
    const uint32_t waiting = rig.queue().counters().waiting;
    rig.deliver(tag, operation, 0, operation == abi::op_flush ? 0 : 8);
    EXPECT_TRUE(wait_until([&] { return rig.queue().counters().waiting == waiting + 1; }));
  }

  std::atomic<int> expiries_ = 0;
  Gate gate_{[this] { expiries_++; }};
  Limiter limiter_;
  const Target null_ = null_target_of(1ull << 40);
};

TEST_F(QueueAdmission, AClosedGateHoldsEverythingBackInTheOrderOfItsArrival) {
  QueueRig rig(null_, 4, &gate_, nullptr);
  ASSERT_EQ(close_gate(), 0);
  rig.queue().wake();
  EXPECT_EQ(gate_.wait_until_quiet(), 0);
  deliver_in_vain(rig, 2, abi::op_write);
  deliver_in_vain(rig, 0, abi::op_read);
  deliver_in_vain(rig, 3, abi::op_flush);
  EXPECT_EQ(rig.driver().waiting_commands(), 0u);
  EXPECT_EQ(rig.queue().counters().in_flight, 0u) << "the target must not see them";
  EXPECT_TRUE(gate_.open());
  rig.queue().wake();
  EXPECT_EQ(rig.committed(2), 4096);
  EXPECT_EQ(rig.committed(0), 4096);
  EXPECT_EQ(rig.committed(3), 0);
  EXPECT_EQ(rig.queue().counters().waiting, 0u);
  EXPECT_EQ(rig.queue().counters().throttled, 0u) << "that is for limits";
}

TEST_F(QueueAdmission, TheGateOpensByItselfWhenItsTimeIsOver) {
  QueueRig rig(null_, 2, &gate_, nullptr);
  const uint64_t before_ns = monotonic_ns();
  ASSERT_EQ(close_gate(100 * ns_per_ms), 0);
  rig.queue().wake();
  EXPECT_EQ(gate_.wait_until_quiet(), 0);
  rig.deliver(0, abi::op_read, 0, 8);
  EXPECT_EQ(rig.committed(0), 4096);
  EXPECT_GE(monotonic_ns() - before_ns, 100 * ns_per_ms);
  EXPECT_TRUE(wait_until([&] { return expiries_ == 1; }));
  EXPECT_FALSE(gate_.open()) << "it was open already";
}

TEST_F(QueueAdmission, TheGateTellsOfItsExpiryThoughNoRequestCame) {
  QueueRig rig(null_, 2, &gate_, nullptr);
  ASSERT_EQ(close_gate(20 * ns_per_ms), 0);
  rig.queue().wake();
  EXPECT_TRUE(wait_until([&] { return expiries_ == 1; }));
}

TEST_F(QueueAdmission, QuietComesWhenTheRequestsInFlightHaveEnded) {
  HoldingTarget holding;
  QueueRig rig(holding.target(), 2, &gate_, nullptr);
  rig.deliver(0, abi::op_write, 0, 8);
  ASSERT_TRUE(wait_until([&] { return rig.queue().counters().in_flight == 1; }));
  ASSERT_EQ(close_gate(), 0);
  rig.queue().wake();
  std::atomic<int> quiet = 1;
  std::thread waiter([&] { quiet = gate_.wait_until_quiet(); });
  deliver_in_vain(rig, 1, abi::op_write);
  EXPECT_EQ(quiet, 1) << "one is still in flight";
  holding.let_go(1);
  waiter.join();
  EXPECT_EQ(quiet, 0);
  EXPECT_EQ(rig.committed(0), 4096);
  gate_.open();
  holding.let_go(1);
  rig.queue().wake();
  EXPECT_EQ(rig.committed(1), 4096);
}

TEST_F(QueueAdmission, QuietThatDoesNotComeInTimeIsAnError) {
  HoldingTarget holding;
  QueueRig rig(holding.target(), 2, &gate_, nullptr);
  rig.deliver(0, abi::op_write, 0, 8);
  ASSERT_TRUE(wait_until([&] { return rig.queue().counters().in_flight == 1; }));
  ASSERT_EQ(close_gate(30 * ns_per_ms), 0);
  rig.queue().wake();
  EXPECT_EQ(gate_.wait_until_quiet(), -ETIMEDOUT);
  holding.let_go(1);
  EXPECT_EQ(rig.committed(0), 4096);
}

TEST_F(QueueAdmission, AGateIsClosedOnceAtATimeAndNeverWhileItIsSealed) {
  ASSERT_EQ(close_gate(), 0);
  EXPECT_EQ(close_gate(), -EALREADY);
  gate_.seal();
  EXPECT_FALSE(gate_.closed());
  EXPECT_EQ(close_gate(), -ESHUTDOWN);
  gate_.unseal();
  EXPECT_EQ(close_gate(), 0);
}

TEST_F(QueueAdmission, WhatHoldsTheGateIsNotEndedByAThawNorByTime) {
  HoldingTarget holding;
  QueueRig rig(holding.target(), 2, &gate_, nullptr);
  rig.deliver(0, abi::op_write, 0, 8);
  ASSERT_TRUE(wait_until([&] { return rig.queue().counters().in_flight == 1; }));
  ASSERT_EQ(gate_.hold(), 0);
  rig.queue().wake();
  EXPECT_EQ(gate_.wait_until_held(monotonic_ns() + 20 * ns_per_ms), -ETIMEDOUT) << "it is not quiet yet";
  holding.let_go(1);
  EXPECT_EQ(gate_.wait_until_held(monotonic_ns() + 10'000 * ns_per_ms), 0);
  EXPECT_EQ(rig.committed(0), 4096);
  EXPECT_FALSE(gate_.open()) << "somebody else's thaw";
  deliver_in_vain(rig, 1, abi::op_write);
  gate_.end_hold();
  rig.queue().wake();
  holding.let_go(1);
  EXPECT_EQ(rig.committed(1), 4096);
}

TEST_F(QueueAdmission, AFreezeWaitsForTheEndOfAHold) {
  ASSERT_EQ(gate_.hold(), 0);
  EXPECT_EQ(gate_.close(monotonic_ns() + 20 * ns_per_ms, false), -ETIMEDOUT);
  std::atomic<int> closed = 1;
  std::thread freezer([&] { closed = gate_.close(monotonic_ns() + 10'000 * ns_per_ms, false); });
  gate_.end_hold();
  freezer.join();
  EXPECT_EQ(closed, 0);
  EXPECT_EQ(gate_.hold(), -EALREADY) << "and a hold does not wait for the end of a freeze";
}

TEST_F(QueueAdmission, WhoWaitsForQuietHearsOfTheSeal) {
  ASSERT_EQ(close_gate(), 0);
  std::atomic<int> quiet = 1;
  std::thread waiter([&] { quiet = gate_.wait_until_quiet(); });
  gate_.seal();
  waiter.join();
  EXPECT_EQ(quiet, -ECANCELED);
}

TEST_F(QueueAdmission, AnEndedQueueIsQuietForEver) {
  QueueRig rig(null_, 1, &gate_, nullptr);
  rig.driver().abort(0, 0);
  ASSERT_TRUE(rig.wait_for_end());
  ASSERT_EQ(close_gate(), 0);
  EXPECT_EQ(gate_.wait_until_quiet(), 0);
}

TEST_F(QueueAdmission, DrainLeavesWhatIsHeldBackToTheNextServer) {
  limiter_.set({.iops = 1, .burst_ms = 1});
  QueueRig rig(null_, 4, &gate_, &limiter_);
  EXPECT_EQ(rig.serve(0, abi::op_write, 0, 8), 4096);
  deliver_in_vain(rig, 1, abi::op_write);
  ASSERT_EQ(close_gate(), 0);
  rig.queue().wake();
  EXPECT_EQ(gate_.wait_until_quiet(), 0);
  deliver_in_vain(rig, 2, abi::op_write);
  rig.queue().drain();
  gate_.seal();
  limiter_.suspend();
  rig.queue().join();
  EXPECT_EQ(rig.driver().waiting_commands(), 0u);
}

TEST_F(QueueAdmission, ALimitHoldsBackWhatIsBeyondItForAsLongAsNeeded) {
  limiter_.set({.iops = 100, .burst_ms = 1});
  QueueRig rig(null_, 4, nullptr, &limiter_);
  const uint64_t before_ns = monotonic_ns();
  for (int i = 0; i < 11; i++) EXPECT_EQ(rig.serve(0, abi::op_write, 0, 8), 4096);
  EXPECT_GE(monotonic_ns() - before_ns, 99 * ns_per_ms);
  // Not always all ten: where this thread is late itself, its next request has nothing to wait for.
  EXPECT_GE(rig.queue().counters().throttled, 1u);
  EXPECT_LE(rig.queue().counters().throttled, 10u);
  EXPECT_GT(rig.queue().counters().throttled_ns, 0u);
}

TEST_F(QueueAdmission, AFlushAndTheOtherDirectionPassALimit) {
  limiter_.set({.write_iops = 1, .burst_ms = 1});
  QueueRig rig(null_, 4, nullptr, &limiter_);
  EXPECT_EQ(rig.serve(0, abi::op_write, 0, 8), 4096);
  deliver_in_vain(rig, 1, abi::op_write);
  EXPECT_EQ(rig.serve(2, abi::op_flush, 0, 0), 0);
  EXPECT_EQ(rig.serve(3, abi::op_read, 0, 8), 4096);
  EXPECT_EQ(rig.queue().counters().waiting, 1u);
}

TEST_F(QueueAdmission, NewLimitsAreForWhatWaitsAlready) {
  limiter_.set({.iops = 1, .burst_ms = 1});
  QueueRig rig(null_, 4, nullptr, &limiter_);
  EXPECT_EQ(rig.serve(0, abi::op_write, 0, 8), 4096);
  for (const uint16_t tag : {1, 2, 3}) deliver_in_vain(rig, tag, abi::op_write);
  const uint64_t before_ns = monotonic_ns();
  limiter_.set({.iops = 1000, .burst_ms = 1});
  rig.queue().wake();
  for (const uint16_t tag : {1, 2, 3}) EXPECT_EQ(rig.committed(tag), 4096);
  EXPECT_LT(monotonic_ns() - before_ns, 900 * ns_per_ms);
}

TEST_F(QueueAdmission, WithoutLimitsWhatWaitsGoesAtOnce) {
  limiter_.set({.iops = 1, .burst_ms = 1});
  QueueRig rig(null_, 4, nullptr, &limiter_);
  EXPECT_EQ(rig.serve(0, abi::op_write, 0, 8), 4096);
  deliver_in_vain(rig, 2, abi::op_read);
  deliver_in_vain(rig, 1, abi::op_write);
  limiter_.set({});
  rig.queue().wake();
  EXPECT_EQ(rig.committed(2), 4096);
  EXPECT_EQ(rig.committed(1), 4096);
}

TEST_F(QueueAdmission, AnIdleQueueWithLimitsSleeps) {
  limiter_.set({.iops = 1000});
  QueueRig rig(null_, 2, &gate_, &limiter_);
  EXPECT_EQ(rig.serve(0, abi::op_read, 0, 8), 4096);
  const uint64_t before = rig.driver().submissions();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_LE(rig.driver().submissions() - before, 1u);
}

TEST_F(QueueAdmission, EachAnsweredRequestIsInOneBucket) {
  QueueRig rig(null_, 2);
  for (int i = 0; i < 5; i++) rig.serve(0, abi::op_read, 0, 8);
  for (int i = 0; i < 3; i++) rig.serve(1, abi::op_write, 0, 8);
  rig.serve(1, abi::op_flush, 0, 0);
  const auto sum = [](const Histogram& histogram) {
    uint64_t count = 0;
    for (size_t i = 0; i < Histogram::bucket_count; i++) count += histogram.count(i);
    return count;
  };
  const QueueCounters& counters = rig.queue().counters();
  EXPECT_EQ(sum(counters.read_latency), 5u);
  EXPECT_EQ(sum(counters.write_latency), 3u);
  EXPECT_EQ(sum(counters.flush_latency), 1u);
  EXPECT_GT(counters.read_latency.sum_ns(), 0u);
}

}  // namespace
}  // namespace ublk
