// Freezing served devices over fakes of the driver.
#include "freeze.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "device_rig.hpp"
#include "wait_until.hpp"

namespace ublk {
namespace {

class Freeze : public DeviceRig {
 protected:
  ~Freeze() override {
    for (std::thread& thread : threads_) thread.join();
  }
  Status freeze(const SharedDevice& device, uint32_t deadline_ms) {
    return freeze_together(
        {device}, deadline_ms, [this](std::function<void()> job) { threads_.emplace_back(std::move(job)); },
        until_ns_);
  }
  void deliver_write(uint16_t queue, uint16_t tag) {
    abi::IoDesc write;
    write.op_flags = abi::op_write;
    write.nr_sectors = 8;
    driver_.deliver(queue, tag, write);
  }

  uint64_t until_ns_ = 0;  // of the latest freeze
  std::vector<std::thread> threads_;
};

TEST_F(Freeze, HoldsRequestsUntilThaw) {
  const SharedDevice disk = opened(spec());
  const Status status = freeze(disk, 60'000);
  ASSERT_TRUE(status.ok()) << status.step << status.error;
  EXPECT_TRUE(disk->frozen());
  deliver_write(1, 2);
  ASSERT_TRUE(wait_until([&] { return disk->counters().waiting == 1; }));
  EXPECT_TRUE(disk->counters().frozen);
  EXPECT_TRUE(disk->thaw());
  EXPECT_EQ(driver_.take_command()->io.result, 4096);
  EXPECT_FALSE(disk->thaw());
  EXPECT_TRUE(disk->remove(control_).ok());
}

TEST_F(Freeze, IsThawedByWhoKnowsItsMoment) {
  const SharedDevice disk = opened(spec());
  ASSERT_TRUE(freeze(disk, 500).ok());
  const uint64_t first_until_ns = until_ns_;
  ASSERT_TRUE(wait_until([&] { return !disk->frozen(); }));
  ASSERT_TRUE(freeze(disk, 60'000).ok());
  EXPECT_FALSE(disk->thaw(first_until_ns));
  EXPECT_TRUE(disk->frozen());
  EXPECT_TRUE(disk->thaw(until_ns_));
  EXPECT_FALSE(disk->frozen());
  EXPECT_TRUE(disk->remove(control_).ok());
}

TEST_F(Freeze, TwiceIsAnErrorAndTheFirstGoesOn) {
  const SharedDevice disk = opened(spec());
  ASSERT_TRUE(freeze(disk, 60'000).ok());
  const Status status = freeze(disk, 60'000);
  EXPECT_EQ(status.step, "FREEZE");
  EXPECT_EQ(status.error, -EALREADY);
  EXPECT_TRUE(disk->frozen());
  EXPECT_TRUE(disk->remove(control_).ok()) << "a frozen device can be removed";
  EXPECT_FALSE(disk->frozen());
}

TEST_F(Freeze, OfADeviceThatGoesIsRefused) {
  const SharedDevice disk = opened(spec());
  disk->release();
  EXPECT_EQ(freeze(disk, 60'000).error, -ESHUTDOWN);
}

TEST_F(Freeze, IsLiftedByAReleaseWhichLeavesTheRequestsToTheNextServer) {
  const SharedDevice disk = opened(spec());
  ASSERT_TRUE(freeze(disk, 60'000).ok());
  deliver_write(0, 1);
  ASSERT_TRUE(wait_until([&] { return disk->counters().waiting == 1; }));
  disk->release();
  EXPECT_EQ(driver_.waiting_commands(), 0u);
}

TEST_F(Freeze, ADeviceWhoseStopFailedCanBeFrozenAgain) {
  const SharedDevice disk = opened(spec());
  kernel_.refuse(abi::cmd_stop_dev, -EBUSY);
  EXPECT_FALSE(disk->remove(control_).ok());
  EXPECT_TRUE(freeze(disk, 60'000).ok());
  EXPECT_TRUE(disk->remove(control_).ok());
}

}  // namespace
}  // namespace ublk
