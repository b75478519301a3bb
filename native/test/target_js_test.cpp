// The js target under a queue, with a backend that is no JavaScript.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <thread>

#include "js_channel_rig.hpp"
#include "queue_rig.hpp"
#include "target_rig.hpp"
#include "wait_until.hpp"

namespace ublk {
namespace {

constexpr JsAbilities everything = {.flush = true, .trim = true, .write_zeroes = true};

class JsTarget : public ::testing::Test {
 protected:
  const std::shared_ptr<FakeChannel> channel_ = std::make_shared<FakeChannel>(everything);
  const Target target_ = js_target_on(channel_);

  // Waits for a batch and takes it.
  std::vector<BackendRequest> next(size_t count) {
    std::vector<BackendRequest> taken;
    EXPECT_TRUE(wait_until([&] {
      for (const BackendRequest& request : channel_->take()) taken.push_back(request);
      return taken.size() >= count;
    }));
    return taken;
  }
};

TEST_F(JsTarget, HandsOverRequestsWithTheTagsOwnMemory) {
  QueueRig rig(target_, 4);
  std::memcpy(rig.buffer(2), "payload", 7);
  rig.deliver(2, abi::op_write, 8, 16);
  const std::vector<BackendRequest> batch = next(1);
  EXPECT_EQ(batch[0].tag, 2);
  EXPECT_EQ(batch[0].operation, abi::op_write);
  EXPECT_EQ(batch[0].offset_bytes, 4096u);
  EXPECT_EQ(batch[0].length_bytes, 8192u);
  EXPECT_EQ(batch[0].buffer, rig.buffer(2));
  EXPECT_EQ(std::memcmp(batch[0].buffer, "payload", 7), 0);
  ASSERT_TRUE(channel_->answer({{2, 0}}));
  EXPECT_EQ(rig.committed(2), 8192);
}

TEST_F(JsTarget, AnswersInAnyOrderAndWithAnyErrno) {
  QueueRig rig(target_, 80);
  for (const uint16_t tag : {0, 1, 70}) rig.deliver(tag, abi::op_read, tag, 8);
  next(3);
  ASSERT_TRUE(channel_->answer({{70, -ENOSPC}}));
  EXPECT_EQ(rig.committed(70), -ENOSPC);
  ASSERT_TRUE(channel_->answer({{1, 0}}));
  EXPECT_EQ(rig.committed(1), 4096);
  ASSERT_TRUE(channel_->answer({{0, -EIO}}));
  EXPECT_EQ(rig.committed(0), -EIO);
  ASSERT_EQ(rig.errors().size(), 2u);
  EXPECT_EQ(rig.errors()[0].error, ENOSPC);
}

TEST_F(JsTarget, AnswersZeroForWhatMovesNoBytes) {
  QueueRig rig(target_, 3);
  rig.deliver(0, abi::op_flush, 0, 0);
  rig.deliver(1, abi::op_discard, 0, 1 << 22);
  rig.deliver(2, abi::op_write_zeroes, 0, 64, abi::io_f_nounmap);
  const std::vector<BackendRequest> batch = next(3);
  for (const BackendRequest& request : batch) {
    ASSERT_TRUE(channel_->answer({{request.tag, 0}}));
    EXPECT_EQ(rig.committed(request.tag), 0);
  }
}

TEST_F(JsTarget, CallsOnceForABatchUntilItIsTaken) {
  QueueRig rig(target_, 8);
  for (uint16_t tag = 0; tag < 8; tag++) {
    rig.deliver(tag, abi::op_read, 0, 8);
    ASSERT_TRUE(wait_until([&] { return rig.queue().counters().in_flight == tag + 1U; }));
  }
  ASSERT_TRUE(wait_until([&] { return channel_->calls() > 0; }));
  EXPECT_EQ(channel_->calls(), 1) << "nobody has taken what was announced first";
  EXPECT_EQ(next(8).size(), 8u);
  ASSERT_TRUE(channel_->answer({{0, 0}, {1, 0}, {2, 0}, {3, 0}, {4, 0}, {5, 0}, {6, 0}, {7, 0}}));
  EXPECT_EQ(rig.driver().take_commands(8).size(), 8u);
  rig.deliver(3, abi::op_read, 0, 8);
  EXPECT_TRUE(wait_until([&] { return channel_->calls() == 2; }));
  next(1);
  ASSERT_TRUE(channel_->answer({{3, 0}}));
}

TEST_F(JsTarget, RefusesAnAnswerToARequestThatIsNotOut) {
  QueueRig rig(target_, 4);
  rig.deliver(1, abi::op_read, 0, 8);
  next(1);
  EXPECT_FALSE(channel_->answer({{0, 0}}));
  EXPECT_FALSE(channel_->answer({{5, 0}}));
  EXPECT_FALSE(channel_->answer({{1, 0}, {1, 0}}));
  EXPECT_EQ(rig.committed(1), 4096) << "the first answer counts";
  EXPECT_EQ(rig.driver().waiting_commands(), 0u);
}

TEST_F(JsTarget, ServesEveryQueueOfADevice) {
  QueueRig rig(target_, 2, 5);
  rig.deliver(0, abi::op_read, 0, 8);
  next(1);
  EXPECT_EQ(channel_->lane(0)->memory()->data(), rig.buffer(0));
  ASSERT_TRUE(channel_->answer({{0, 0}}, 0));
  EXPECT_EQ(rig.committed(0), 4096);
}

TEST_F(JsTarget, RefusesEveryChangeOfAReadOnlyDevice) {
  const Target target = js_target_on(channel_, true);
  QueueRig rig(target, 1);
  for (const uint8_t operation : {abi::op_write, abi::op_discard, abi::op_write_zeroes}) {
    EXPECT_EQ(rig.serve(0, operation, 0, 8), -EROFS);
  }
  EXPECT_EQ(channel_->calls(), 0);
}

TEST(JsTargetAbilities, AreAnnouncedOnlyWhenTheBackendHasThem) {
  const auto poor = std::make_shared<FakeChannel>(JsAbilities{});
  const Target target = js_target_on(poor);
  EXPECT_FALSE(target.discard);
  EXPECT_FALSE(target.write_zeroes);
  EXPECT_FALSE(target.volatile_cache);
  QueueRig rig(target, 1);
  EXPECT_EQ(rig.serve(0, abi::op_flush, 0, 0), 0) << "a write is durable when it is answered";
  EXPECT_EQ(rig.serve(0, abi::op_discard, 0, 8), -EOPNOTSUPP);
  EXPECT_EQ(rig.serve(0, abi::op_write_zeroes, 0, 8), -EOPNOTSUPP);
  EXPECT_EQ(poor->calls(), 0);
}

TEST_F(JsTarget, SyncIsAFlushOfTheBackendBesideTheKernelsRequests) {
  QueueRig rig(target_, 2);
  rig.deliver(0, abi::op_read, 0, 8);
  next(1);
  std::thread backend([&] {
    const BackendRequest flush = next(1)[0];
    EXPECT_EQ(flush.operation, abi::op_flush);
    EXPECT_GE(flush.tag, 2) << "no tag of the kernel's";
    EXPECT_TRUE(channel_->answer({{flush.tag, -ENOSPC}}));
    const BackendRequest second = next(1)[0];
    EXPECT_TRUE(channel_->answer({{second.tag, 0}}));
  });
  EXPECT_EQ(target_.ops->sync(target_), -ENOSPC);
  EXPECT_EQ(target_.ops->sync(target_), 0);
  backend.join();
  EXPECT_EQ(rig.driver().waiting_commands(), 0u);
  ASSERT_TRUE(channel_->answer({{0, 0}}));
  EXPECT_EQ(rig.committed(0), 4096);
}

TEST_F(JsTarget, SyncOfALostBackendFails) {
  QueueRig rig(target_, 1);
  channel_->lose();
  EXPECT_EQ(target_.ops->sync(target_), -EIO);
}

TEST_F(JsTarget, DrainWaitsForWhatTheBackendWorksOn) {
  QueueRig rig(target_, 2);
  rig.deliver(0, abi::op_write, 0, 8);
  next(1);
  rig.queue().drain();
  EXPECT_FALSE(rig.queue().join_for(50));
  ASSERT_TRUE(channel_->answer({{0, 0}}));
  rig.queue().join();
  EXPECT_EQ(rig.committed(0), 4096) << "the next server must not do it again";
}

TEST_F(JsTarget, ALostBackendsRequestsWaitForTheNextServer) {
  QueueRig rig(target_, 4);
  rig.deliver(0, abi::op_write, 0, 8);
  rig.deliver(1, abi::op_read, 0, 8);
  next(2);
  channel_->lose();
  rig.deliver(2, abi::op_write, 0, 8);
  ASSERT_TRUE(wait_until([&] { return rig.queue().counters().in_flight == 3; }));
  EXPECT_EQ(rig.driver().waiting_commands(), 0u) << "no error for a device that can be recovered";
  rig.queue().drain();
  rig.queue().join();
  EXPECT_EQ(rig.driver().waiting_commands(), 0u);
}

TEST_F(JsTarget, SurvivesAnswersAndMemoryUsedAfterTheQueue) {
  std::shared_ptr<JsLane> lane;
  std::byte* late = nullptr;
  {
    QueueRig rig(target_, 1);
    rig.deliver(0, abi::op_read, 0, 8);
    late = next(1)[0].buffer;
    lane = channel_->lane(0);
    channel_->lose();
    rig.queue().drain();
    rig.queue().join();
  }
  std::memset(late, 1, 4096);
  EXPECT_TRUE(channel_->answer({{0, 0}}));
}

// The next server has the request too: what is written twice has to be the same bytes.
TEST_F(JsTarget, ALostBackendsLateWriteStillHasItsBytes) {
  std::shared_ptr<JsLane> lane;
  std::byte* late = nullptr;
  {
    QueueRig rig(target_, 1);
    rig.deliver(0, abi::op_write, 0, 8);
    late = next(1)[0].buffer;
    std::memset(late, 0x5a, 4096);
    lane = channel_->lane(0);
    channel_->lose();
    rig.queue().drain();
    rig.queue().join();
  }
  EXPECT_EQ(late[4095], std::byte{0x5a});
}

TEST_F(JsTarget, AnswersEveryRequestOnceUnderLoad) {
  constexpr uint16_t depth = 64;
  constexpr size_t total = 20'000;
  QueueRig rig(target_, depth);
  std::atomic<bool> stop = false;
  std::thread backend([&] {
    while (!stop) {
      std::vector<std::pair<uint16_t, int32_t>> answers;
      for (const BackendRequest& request : channel_->take()) answers.emplace_back(request.tag, 0);
      if (answers.empty()) continue;
      EXPECT_TRUE(channel_->answer(answers));
    }
  });
  for (uint16_t tag = 0; tag < depth; tag++) rig.deliver(tag, abi::op_read, tag, 8);
  for (size_t served = 0; served < total; served++) {
    const std::optional<FakeDriver::Command> commit = rig.driver().take_command();
    if (!commit) break;
    EXPECT_EQ(commit->io.result, 4096);
    if (served + depth < total) rig.deliver(commit->io.tag, abi::op_read, 0, 8);
  }
  stop = true;
  backend.join();
  EXPECT_EQ(rig.queue().counters().reads, total);
}

}  // namespace
}  // namespace ublk
