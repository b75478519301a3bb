// Resize, quiesce and the careful stop of a device over fakes of the driver.
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "device_rig.hpp"

namespace ublk {
namespace {

using DeviceLife = DeviceRig;

TEST_F(DeviceLife, GrowsTargetThenDeviceThenLooks) {
  const auto disk = opened(spec());
  ASSERT_EQ(::truncate(image().c_str(), 2 * image_bytes), 0);
  const Status status = disk->resize(control_, 2 * image_bytes);
  EXPECT_TRUE(status.ok()) << status.step << status.error;
  EXPECT_EQ(news(), (Log{"GET_DEV_INFO", "UPDATE_SIZE", "GET_PARAMS"}));
  EXPECT_EQ(kernel_.params().basic.dev_sectors, 2 * image_bytes / 512);
  EXPECT_EQ(disk->geometry().size_bytes, 2 * image_bytes);
  EXPECT_TRUE(disk->remove(control_).ok());
}

TEST_F(DeviceLife, MapsGrownMemoryWhileNoRequestIsAtWork) {
  DeviceSpec wanted = spec();
  wanted.target = {.kind = TargetKind::memory, .path = "", .size_bytes = image_bytes};
  const auto disk = opened(std::move(wanted));
  EXPECT_TRUE(disk->resize(control_, 2 * image_bytes).ok());
  EXPECT_FALSE(disk->frozen());
  abi::IoDesc write;
  write.op_flags = abi::op_write;
  write.nr_sectors = 8;
  write.start_sector = 2 * image_bytes / 512 - 8;
  driver_.deliver(1, 0, write);
  EXPECT_EQ(driver_.take_command()->io.result, 4096) << "the new end is there";
  EXPECT_TRUE(disk->remove(control_).ok());
}

TEST_F(DeviceLife, KeepsItsSizeWhenTheImageIsTooSmall) {
  const auto disk = opened(spec());
  const Status status = disk->resize(control_, 2 * image_bytes);
  EXPECT_EQ(status.step, "GROW_TARGET");
  EXPECT_EQ(status.error, -ENODATA);
  EXPECT_EQ(news(), Log{"GET_DEV_INFO"});
  EXPECT_EQ(disk->geometry().size_bytes, image_bytes);
  EXPECT_TRUE(disk->remove(control_).ok());
}

TEST_F(DeviceLife, IsNeverShrunkNorGrownByPartsOfABlock) {
  const auto disk = opened(spec());
  for (const uint64_t size_bytes : {image_bytes / 2, image_bytes + 1, uint64_t{0}}) {
    EXPECT_EQ(disk->resize(control_, size_bytes).error, -EINVAL) << size_bytes;
  }
  EXPECT_EQ(news(), Log{});
  EXPECT_TRUE(disk->remove(control_).ok());
}

TEST_F(DeviceLife, IsNotResizedUnlessItIsLive) {
  const auto disk = opened(spec());
  kernel_.leave_quiesced(kernel_.info(), kernel_.params());
  const Status status = disk->resize(control_, 2 * image_bytes);
  EXPECT_EQ(status.step, "UPDATE_SIZE");
  EXPECT_EQ(status.error, -EBUSY);
  EXPECT_EQ(news(), Log{"GET_DEV_INFO"});
  EXPECT_TRUE(disk->remove(control_).ok());
}

TEST_F(DeviceLife, IsNotResizedWithoutTheFeature) {
  kernel_.forget(abi::f_update_size, 0);
  const auto disk = opened(spec());
  const Status status = disk->resize(control_, 2 * image_bytes);
  EXPECT_EQ(status.step, "UPDATE_SIZE");
  EXPECT_EQ(status.error, -EOPNOTSUPP);
  EXPECT_EQ(news(), Log{});
  EXPECT_TRUE(disk->remove(control_).ok());
}

TEST_F(DeviceLife, KeepsItsSizeWhenTheKernelRefuses) {
  const auto disk = opened(spec());
  ASSERT_EQ(::truncate(image().c_str(), 2 * image_bytes), 0);
  kernel_.refuse(abi::cmd_update_size, -EIO);
  EXPECT_EQ(disk->resize(control_, 2 * image_bytes).error, -EIO);
  EXPECT_EQ(disk->geometry().size_bytes, image_bytes);
  EXPECT_TRUE(disk->resize(control_, 2 * image_bytes).ok()) << "and may be tried again";
  EXPECT_TRUE(disk->remove(control_).ok());
}

TEST_F(DeviceLife, QuiesceEndsServingAndLeavesTheDevice) {
  const auto disk = opened(spec());
  EXPECT_TRUE(disk->quiesce(control_, 1000).ok());
  EXPECT_EQ(news(), Log{"QUIESCE_DEV"});
  EXPECT_TRUE(kernel_.has_device());
  EXPECT_EQ(stops_, 0) << "we asked for it";
}

TEST_F(DeviceLife, QuiesceThatTheKernelCannotFinishStillEndsServing) {
  const auto disk = opened(spec());
  kernel_.refuse(abi::cmd_quiesce_dev, -EBUSY);
  EXPECT_TRUE(disk->quiesce(control_, 1000).ok()) << "the device takes no requests any more, so we must go";
  EXPECT_TRUE(kernel_.has_device());
}

TEST_F(DeviceLife, QuiesceIsRefusedWithoutTheFeatureAndServingGoesOn) {
  kernel_.forget(abi::f_quiesce, 0);
  const auto disk = opened(spec());
  EXPECT_EQ(disk->quiesce(control_, 1000).error, -EOPNOTSUPP);
  EXPECT_EQ(news(), Log{});
  EXPECT_EQ(driver_.armed_tags(), size_t{queue_count} * queue_depth);
  EXPECT_TRUE(disk->remove(control_).ok());
}

TEST_F(DeviceLife, CarefulStopLeavesADeviceInUse) {
  const auto disk = opened(spec());
  kernel_.refuse(abi::cmd_try_stop_dev, -EBUSY, 1'000'000);
  const Status status = disk->remove(control_, true);
  EXPECT_EQ(status.step, "TRY_STOP_DEV");
  EXPECT_EQ(status.error, -EBUSY);
  EXPECT_EQ(driver_.armed_tags(), size_t{queue_count} * queue_depth) << "still served";
  kernel_.refuse(abi::cmd_try_stop_dev, -EBUSY, 2);
  EXPECT_TRUE(disk->remove(control_, true).ok()) << "udev looks at it for a moment only";
  EXPECT_FALSE(kernel_.has_device());
}

TEST_F(DeviceLife, CarefulStopIsRefusedWhereTheKernelCannotTell) {
  kernel_.forget(abi::f_safe_stop_dev, 0);
  const auto disk = opened(spec());
  EXPECT_EQ(disk->remove(control_, true).error, -EOPNOTSUPP);
  EXPECT_TRUE(kernel_.has_device());
  EXPECT_TRUE(disk->remove(control_).ok());
}

}  // namespace
}  // namespace ublk
