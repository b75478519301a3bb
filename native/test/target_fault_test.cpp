// The fault target over memory and over a file.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <cstring>
#include <string>

#include "abi.hpp"
#include "fault_plan.hpp"
#include "queue_rig.hpp"
#include "scratch.hpp"
#include "target_rig.hpp"
#include "wait_until.hpp"

namespace ublk {
namespace {

constexpr uint64_t image_bytes = 1 << 20;

FaultRule rule_for(uint8_t operation, Fault fault) {
  return {.operations = 1u << operation, .fault = fault};
}

TargetSpec spec_with(std::vector<FaultRule> rules, TargetKind over = TargetKind::memory,
                     const std::string& path = "") {
  TargetSpec spec = {.kind = TargetKind::fault, .path = path, .size_bytes = image_bytes};
  spec.fault_over = over;
  spec.fault = std::make_shared<FaultPlan>(std::move(rules), 1);
  return spec;
}

Target opened(const TargetSpec& spec) {
  Target target;
  const char* step = "";
  target.ops = &target_ops(spec.kind);
  EXPECT_EQ(target.ops->open(spec, target, step), 0) << step;
  return target;
}

// A device over memory with these faults.
class FaultTarget : public ::testing::Test {
 protected:
  void serve(std::vector<FaultRule> rules, uint16_t depth = 4) {
    spec_ = spec_with(std::move(rules));
    target_ = opened(spec_);
    rig_ = std::make_unique<QueueRig>(target_, depth);
  }
  int32_t write(uint64_t sector, const std::string& bytes) {
    std::memcpy(rig_->buffer(0), bytes.data(), bytes.size());
    return rig_->serve(0, abi::op_write, sector, static_cast<uint32_t>(bytes.size() / 512));
  }
  std::string stored(uint64_t offset_bytes, uint64_t length_bytes) const {
    return {reinterpret_cast<const char*>(target_.memory.data()) + offset_bytes, length_bytes};
  }

  TargetSpec spec_;
  Target target_;
  std::unique_ptr<QueueRig> rig_;
};

TEST_F(FaultTarget, ServesAsItsInnerTargetDoes) {
  serve({});
  EXPECT_EQ(write(8, pattern(4096, 1)), 4096);
  EXPECT_EQ(stored(4096, 4096), pattern(4096, 1));
  EXPECT_EQ(rig_->serve(1, abi::op_read, 8, 8), 4096);
  EXPECT_EQ(rig_->serve(1, abi::op_flush, 0, 0), 0);
}

TEST_F(FaultTarget, FailsWithTheErrnoAndDoesNoIo) {
  serve({rule_for(abi::op_write, {.kind = FaultKind::error, .value = ENOSPC})});
  EXPECT_EQ(write(0, pattern(4096, 2)), -ENOSPC);
  EXPECT_EQ(stored(0, 4096), std::string(4096, '\0'));
  EXPECT_EQ(rig_->serve(1, abi::op_read, 0, 8), 4096);
  ASSERT_EQ(rig_->errors().size(), 1u);
  EXPECT_EQ(rig_->errors()[0].error, ENOSPC);
}

TEST_F(FaultTarget, ATornWriteStoresItsBeginningAndFails) {
  serve({rule_for(abi::op_write, {.kind = FaultKind::tear, .value = 1536 + 100})});
  EXPECT_EQ(write(8, pattern(4096, 3)), -EIO);
  EXPECT_EQ(stored(4096, 1536), pattern(4096, 3).substr(0, 1536)) << "whole blocks";
  EXPECT_EQ(stored(4096 + 1536, 4096 - 1536), std::string(4096 - 1536, '\0'));
  ASSERT_EQ(rig_->errors().size(), 1u);
  EXPECT_EQ(rig_->errors()[0].length_bytes, 4096u) << "the request is reported, not its torn part";
}

TEST_F(FaultTarget, ATearLongerThanTheWriteStoresAllAndFails) {
  serve({rule_for(abi::op_write, {.kind = FaultKind::tear, .value = 1 << 20})});
  EXPECT_EQ(write(0, pattern(512, 4)), -EIO);
  EXPECT_EQ(stored(0, 512), pattern(512, 4));
}

TEST_F(FaultTarget, DelaysARequestAndNotItsNeighbours) {
  serve({{.operations = 1u << abi::op_read, .times = 1, .fault = {.kind = FaultKind::delay, .value = 60}}});
  const auto begin = std::chrono::steady_clock::now();
  rig_->deliver(1, abi::op_read, 0, 8);
  ASSERT_TRUE(wait_until([&] { return rig_->queue().counters().in_flight == 1; }));
  EXPECT_EQ(rig_->serve(2, abi::op_read, 0, 8), 4096) << "answered while the other waits";
  EXPECT_EQ(rig_->committed(1), 4096);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(60));
}

TEST_F(FaultTarget, HangsUntilThereAreOtherRules) {
  serve({{.operations = 1u << abi::op_write, .times = 1, .fault = {.kind = FaultKind::hang}}});
  std::memcpy(rig_->buffer(3), pattern(512, 5).data(), 512);
  rig_->deliver(3, abi::op_write, 0, 1);
  ASSERT_TRUE(wait_until([&] { return rig_->queue().counters().in_flight == 1; }));
  rig_->queue().wake();
  EXPECT_EQ(rig_->serve(1, abi::op_read, 0, 8), 4096);
  EXPECT_EQ(rig_->queue().counters().in_flight, 1u);
  spec_.fault->replace({});
  rig_->queue().wake();
  EXPECT_EQ(rig_->committed(3), 512);
  EXPECT_EQ(stored(0, 512), pattern(512, 5));
}

TEST_F(FaultTarget, LeavesHungRequestsToTheNextServer) {
  serve({rule_for(abi::op_write, {.kind = FaultKind::hang})});
  rig_->deliver(3, abi::op_write, 0, 1);
  ASSERT_TRUE(wait_until([&] { return rig_->queue().counters().in_flight == 1; }));
  rig_->queue().drain();
  rig_->queue().join();
  EXPECT_EQ(rig_->driver().waiting_commands(), 0u);
}

TEST(FaultTargetFile, TearsAndDelaysItsIo) {
  const Scratch scratch;
  const std::string path = scratch.file("image", image_bytes);
  TargetRig rig(spec_with(
      {{.operations = 1u << abi::op_write, .times = 1, .fault = {.kind = FaultKind::tear, .value = 4096}},
       {.operations = 1u << abi::op_read, .times = 1, .fault = {.kind = FaultKind::delay, .value = 1}}},
      TargetKind::file, path));
  ASSERT_EQ(rig.open_result(), 0);
  EXPECT_EQ(rig.write(0, pattern(8192, 6)), -EIO);
  EXPECT_EQ(contents(path, 0, 8192), pattern(8192, 6).substr(0, 4096) + std::string(4096, '\0'));
  EXPECT_EQ(rig.read(0, 4096), pattern(8192, 6).substr(0, 4096));
  EXPECT_EQ(rig.write(0, pattern(8192, 7)), 8192);
  EXPECT_EQ(contents(path, 0, 8192), pattern(8192, 7));
}

TEST(FaultTargetOpen, RefusesFaultsInFaults) {
  EXPECT_EQ(TargetRig(spec_with({}, TargetKind::fault)).open_result(), -EINVAL);
  EXPECT_EQ(TargetRig(spec_with({}, TargetKind::js)).open_result(), -EINVAL);
}

// Writes one block to a file target that dies at the point.
void write_and_die(const std::string& path, DeathPoint point) {
  const Fault fault = {.kind = FaultKind::die, .value = static_cast<uint32_t>(point)};
  const Target target = opened(spec_with({rule_for(abi::op_write, fault)}, TargetKind::file, path));
  QueueRig rig(target, 1);
  std::memcpy(rig.buffer(0), pattern(512, 8).data(), 512);
  rig.deliver(0, abi::op_write, 0, 1);
  rig.committed(0);
  rig.wait_for_end();
}

TEST(FaultTargetDeathTest, DiesWhereItIsTold) {
  const Scratch scratch;
  const std::string path = scratch.file("image", image_bytes);
  EXPECT_EXIT(write_and_die(path, DeathPoint::before_io), ::testing::KilledBySignal(SIGKILL), "");
  EXPECT_EQ(contents(path, 0, 512), std::string(512, '\0'));
  EXPECT_EXIT(write_and_die(path, DeathPoint::after_io), ::testing::KilledBySignal(SIGKILL), "");
  overwrite(path, 0, std::string(512, 'x'));
  EXPECT_EXIT(write_and_die(path, DeathPoint::after_commit), ::testing::KilledBySignal(SIGKILL), "");
}

}  // namespace
}  // namespace ublk
