// Copies of devices that begin at one instant.
#include "copy_start.hpp"

#include <gtest/gtest.h>

#include "abi.hpp"
#include "device_rig.hpp"
#include "image_copy_rig.hpp"

namespace ublk {
namespace {

class CopyStart : public DeviceRig {
 protected:
  static constexpr uint64_t size_bytes = image_bytes;
  CopySpec copy_spec(const std::string& name) const {
    return {.source_path = image(),
            .target_path = scratch_.file(name, image_bytes),
            .progress_path = scratch_.path(name + "-progress"),
            .size_bytes = image_bytes,
            .direct = true,
            .boot_id = "this boot"};
  }
};

TEST_F(CopyStart, BeginsAtOneInstantAndThaws) {
  const SharedDevice disk = opened(spec());
  const SharedCopy first = created_copy(copy_spec("first"));
  const SharedCopy second = created_copy(copy_spec("second"));
  uint64_t frozen_ns = 0;
  const Status status = start_copies({{first, disk}, {second, disk}}, 10'000, frozen_ns);
  ASSERT_TRUE(status.ok()) << status.step << status.error;
  EXPECT_FALSE(disk->frozen());
  EXPECT_LT(frozen_ns, 100'000'000u);
  EXPECT_TRUE(wait_until([&] { return first->status().state == CopyState::done; }));
  EXPECT_TRUE(wait_until([&] { return second->status().state == CopyState::done; }));
  EXPECT_TRUE(disk->remove(control_).ok());
}

TEST_F(CopyStart, ThatCannotFreezeLeavesNoCopy) {
  const SharedDevice disk = opened(spec());
  const SharedCopy copy = created_copy(copy_spec("copy"));
  disk->release();
  uint64_t frozen_ns = 0;
  EXPECT_EQ(start_copies({{copy, disk}}, 10'000, frozen_ns).error, -ESHUTDOWN);
  EXPECT_EQ(copy->status().state, CopyState::failed);
  EXPECT_TRUE(copy->ended());
}

TEST_F(CopyStart, ADeviceOpenedDuringACopyHoldsBackFromItsFirstRequest) {
  overwrite(image(), 0, std::string(4096, 'a'));
  const SharedCopy copy = created_copy(copy_spec("copy"));
  ASSERT_EQ(copy->begin(), 0);
  DeviceSpec wanted = spec();
  wanted.copies = {copy};
  const SharedDevice disk = opened(std::move(wanted));
  abi::IoDesc write;
  write.op_flags = abi::op_write;
  write.nr_sectors = 8;
  driver_.deliver(0, 1, write);
  ASSERT_TRUE(wait_until([&] { return disk->counters().waiting == 1; }));
  EXPECT_EQ(contents(image(), 0, 4096), std::string(4096, 'a'));
  ASSERT_EQ(copy->run(), 0);
  EXPECT_EQ(driver_.take_command()->io.result, 4096);
  EXPECT_TRUE(wait_until([&] { return copy->status().state == CopyState::done; }));
  EXPECT_EQ(contents(scratch_.path("copy"), 0, 4096), std::string(4096, 'a'));
  EXPECT_TRUE(disk->remove(control_).ok());
}

}  // namespace
}  // namespace ublk
