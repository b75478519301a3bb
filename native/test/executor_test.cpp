// Lanes over a fake /dev/ublk-control.
#include "executor.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <vector>

#include "fake_control.hpp"
#include "open_files.hpp"
#include "wait_until.hpp"

namespace ublk {
namespace {

const int lane_a = 0;
const int lane_b = 0;

TEST(Executor, RunsTheJobsOfALaneOneByOneInTheirOrder) {
  std::vector<int> ran;
  std::atomic<int> running = 0;
  Executor executor;
  ASSERT_EQ(executor.start(), 0);
  for (int i = 0; i < 100; i++) {
    executor.post(&lane_a, [&, i](Control&) {
      EXPECT_EQ(running.fetch_add(1), 0);
      ran.push_back(i);
      running--;
    });
  }
  executor.stop();
  ASSERT_EQ(ran.size(), 100u) << "stop() runs what is still posted";
  for (int i = 0; i < 100; i++) EXPECT_EQ(ran[static_cast<size_t>(i)], i);
}

TEST(Executor, LetsALaneGoOnWhileAnotherIsStuck) {
  Executor executor;
  ASSERT_EQ(executor.start(), 0);
  std::promise<void> free;
  const std::shared_future<void> freed(free.get_future());
  for (int i = 0; i < 3; i++) executor.post(&lane_a, [freed](Control&) { freed.wait(); });
  std::atomic<int> ran = 0;
  for (int i = 0; i < 10; i++) executor.post(&lane_b, [&](Control&) { ran++; });
  executor.post(Executor::no_lane, [&](Control&) { ran++; });
  EXPECT_TRUE(wait_until([&] { return ran == 11; }));
  free.set_value();
  executor.stop();
}

TEST(Executor, GivesJobsWithoutALaneThreadsOfTheirOwn) {
  Executor executor;
  ASSERT_EQ(executor.start(), 0);
  std::atomic<int> met = 0;
  for (int i = 0; i < 8; i++) {
    executor.post(Executor::no_lane, [&](Control&) {
      met++;
      EXPECT_TRUE(wait_until([&] { return met == 8; }));
    });
  }
  executor.stop();
  EXPECT_EQ(met, 8);
}

TEST(Executor, RunsAJobThatAllItsThreadsWaitFor) {
  Executor executor;
  ASSERT_EQ(executor.start(), 0);
  std::atomic<int> done = 0;
  const auto wait_for_another = [&](Control&) {
    std::promise<void> ran;
    executor.post_awaited([&](Control&) { ran.set_value(); });
    EXPECT_EQ(ran.get_future().wait_for(std::chrono::seconds(20)), std::future_status::ready);
    done++;
  };
  for (int i = 0; i < 64; i++) executor.post(Executor::no_lane, wait_for_another);
  EXPECT_TRUE(wait_until([&] { return done == 64; }));
  executor.stop();
}

TEST(Executor, MayBeStoppedTwiceOrNeverStarted) {
  Executor idle;
  Executor executor;
  ASSERT_EQ(executor.start(), 0);
  executor.stop();
  executor.stop();
}

TEST(Executor, GivesBackWhatItTookForABusyTime) {
  FakeDriver driver;
  const FakeControl kernel(driver);
  Executor executor;
  ASSERT_EQ(executor.start(), 0);
  std::atomic<int> met = 0;
  const auto ask = [&](int jobs) {
    met = 0;
    for (int i = 0; i < jobs; i++) {
      executor.post(Executor::no_lane, [&met, jobs](Control& control) {
        uint64_t features = 0;
        EXPECT_EQ(get_features(control, features), 0);
        met++;
        EXPECT_TRUE(wait_until([&] { return met == jobs; }));
      });
    }
    EXPECT_TRUE(wait_until([&] { return met == jobs; }));
  };
  ask(1);
  const size_t before = open_file_count();
  ask(4);
  EXPECT_TRUE(wait_until([&] { return open_file_count() == before; }));
}

TEST(Executor, IsNotHeldUpByACommandThatNeverComesBack) {
  FakeDriver driver;
  FakeControl kernel(driver);
  kernel.withhold(abi::cmd_stop_dev);
  Executor executor;
  ASSERT_EQ(executor.start(), 0);
  std::atomic<int> stopped = 0;
  std::atomic<int> asked = 1;
  executor.post(&lane_a, [&](Control& control) { stopped = stop_device(control, 12, 50); });
  executor.post(&lane_b, [&](Control& control) {
    uint64_t features = 0;
    asked = get_features(control, features);
  });
  EXPECT_TRUE(wait_until([&] { return asked == 0; }));
  EXPECT_TRUE(wait_until([&] { return stopped == -ETIMEDOUT; }));
  executor.stop();
}

TEST(BringUp, DoesNotWaitLongForACommandThatIsStuck) {
  FakeDriver driver;
  FakeControl kernel(driver);
  kernel.withhold(abi::cmd_start_dev);
  Executor executor;
  ASSERT_EQ(executor.start(), 0);
  executor.post(&lane_a, [](Control& control) { start_device(control, 12, 1); });
  ASSERT_TRUE(wait_until([&] { return !kernel.log().empty(); }));
  const auto start = std::chrono::steady_clock::now();
  std::atomic<int> added = 1;
  executor.post(&lane_b, [&](Control& control) {
    abi::DevInfo info = {.nr_hw_queues = 1, .queue_depth = 1, .dev_id = UINT32_MAX};
    added = add_device(control, info);
  });
  EXPECT_TRUE(wait_until([&] { return added == 0; }));
  const auto waited = std::chrono::steady_clock::now() - start;
  EXPECT_GE(waited, std::chrono::milliseconds(1900)) << "its turn comes after the one before";
  EXPECT_LT(waited, std::chrono::seconds(10));
  kernel.release_withheld();
  executor.stop();
}

}  // namespace
}  // namespace ublk
