// The control channel over a fake /dev/ublk-control.
#include "control.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <vector>

#include "fake_control.hpp"
#include "open_files.hpp"
#include "refused_flags.hpp"

namespace ublk {
namespace {

using Log = std::vector<std::string>;
constexpr uint32_t id = FakeControl::device_id;

class Controls : public ::testing::Test {
 protected:
  FakeDriver driver_;
  FakeControl kernel_{driver_};
  Control control_;
};

TEST_F(Controls, BringBackWhatTheKernelWrote) {
  kernel_.forget(~uint64_t{0x1fe}, 0);
  uint64_t features = 0;
  EXPECT_EQ(get_features(control_, features), 0);
  EXPECT_EQ(features, 0x1feu);
}

TEST_F(Controls, SendAddDeviceAsTheDriverWantsIt) {
  abi::DevInfo info = {
      .nr_hw_queues = 2, .queue_depth = 64, .dev_id = UINT32_MAX, .flags = abi::f_user_recovery};
  EXPECT_EQ(add_device(control_, info), 0) << "device number and \"no queue\" must agree with the payload";
  EXPECT_EQ(info.dev_id, id);
  abi::DevInfo read_back = {};
  EXPECT_EQ(get_device_info(control_, id, read_back), 0);
  EXPECT_EQ(read_back.queue_depth, 64);
  EXPECT_EQ(read_back.flags, abi::f_user_recovery);
}

TEST_F(Controls, FillInTheLengthWhenTheyAskForParams) {
  abi::DevInfo info = {.nr_hw_queues = 1, .queue_depth = 1, .dev_id = UINT32_MAX};
  ASSERT_EQ(add_device(control_, info), 0);
  abi::Params wanted = {.len = sizeof(abi::Params), .types = abi::param_type_basic};
  wanted.basic.dev_sectors = 77;
  ASSERT_EQ(set_params(control_, id, wanted), 0);
  abi::Params kept = {};
  ASSERT_EQ(get_params(control_, id, kept), 0);
  EXPECT_EQ(kept.basic.dev_sectors, 77u);
}

TEST_F(Controls, NameTheNodeOfAnUnprivilegedDeviceInEveryCommand) {
  abi::DevInfo info = {
      .nr_hw_queues = 1, .queue_depth = 1, .dev_id = UINT32_MAX, .flags = abi::f_unprivileged_dev};
  ASSERT_EQ(add_device(control_, info), 0);
  const DeviceName name(info);
  abi::Params wanted = {.len = sizeof(abi::Params), .types = abi::param_type_basic};
  wanted.basic.dev_sectors = 77;
  EXPECT_EQ(set_params(control_, name, wanted), 0);
  abi::Params kept = {};
  EXPECT_EQ(get_params(control_, name, kept), 0);
  EXPECT_EQ(kept.basic.dev_sectors, 77u) << "the payload lies behind the path, on the way in and out";
  std::vector<std::byte> cpus(1024);
  EXPECT_EQ(get_queue_affinity(control_, name, 0, cpus), 0);
  EXPECT_EQ(stop_device(control_, name, 1000), 0);
  EXPECT_EQ(delete_device(control_, name, 1000), 0);
  EXPECT_FALSE(kernel_.has_device());
}

TEST_F(Controls, FindOutThatADeviceIsUnprivileged) {
  abi::DevInfo info = {
      .nr_hw_queues = 1, .queue_depth = 1, .dev_id = UINT32_MAX, .flags = abi::f_unprivileged_dev};
  ASSERT_EQ(add_device(control_, info), 0);
  abi::DevInfo read_back = {};
  EXPECT_EQ(get_device_info(control_, id, read_back), 0);
  EXPECT_TRUE(DeviceName(read_back).unprivileged);
  EXPECT_EQ(kernel_.log(), (Log{"ADD_DEV", "GET_DEV_INFO", "GET_DEV_INFO2"}));
}

TEST_F(Controls, PassErrorsOn) {
  EXPECT_EQ(stop_device(control_, id, 1000), -ENODEV);
  kernel_.refuse(abi::cmd_get_features, -EPERM);
  uint64_t features = 0;
  EXPECT_EQ(get_features(control_, features), -EPERM);
  EXPECT_EQ(features, 0u);
}

TEST_F(Controls, RepeatAnInterruptedCommand) {
  kernel_.refuse(abi::cmd_get_features, -EINTR, 3);
  uint64_t features = 0;
  EXPECT_EQ(get_features(control_, features), 0);
  EXPECT_EQ(kernel_.log(), (Log{"GET_FEATURES", "GET_FEATURES", "GET_FEATURES", "GET_FEATURES"}));
}

TEST_F(Controls, GiveUpOnACommandThatIsInterruptedForEver) {
  kernel_.refuse(abi::cmd_get_features, -EINTR, 1'000'000);
  uint64_t features = 0;
  EXPECT_EQ(get_features(control_, features), -EINTR);
  EXPECT_LT(kernel_.log().size(), 1000u);
}

TEST_F(Controls, GiveUpOnACommandThatDoesNotComeBack) {
  kernel_.withhold(abi::cmd_get_features);
  uint64_t features = 7;
  abi::CtrlCmd command = {.dev_id = UINT32_MAX, .queue_id = abi::no_queue};
  const auto payload = std::as_writable_bytes(std::span(&features, 1));
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(control_.command(abi::cmd_get_features, command, payload, 30), -ETIMEDOUT);
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(29));
  EXPECT_EQ(features, 7u) << "the caller's memory is no longer the kernel's";
}

TEST_F(Controls, AreNotConfusedByALateCompletion) {
  kernel_.withhold(abi::cmd_stop_dev);
  abi::DevInfo info = {.nr_hw_queues = 1, .queue_depth = 1, .dev_id = UINT32_MAX};
  ASSERT_EQ(add_device(control_, info), 0);
  EXPECT_EQ(stop_device(control_, id, 10), -ETIMEDOUT);
  kernel_.release_withheld();
  kernel_.refuse(abi::cmd_get_features, -EPERM);
  uint64_t features = 0;
  EXPECT_EQ(get_features(control_, features), -EPERM) << "not the 0 of the command before";
  EXPECT_EQ(get_features(control_, features), 0);
}

TEST_F(Controls, RefuseAPayloadThatTheirMemoryCannotHold) {
  std::vector<std::byte> payload(1 << 16);
  EXPECT_EQ(control_.command(abi::cmd_get_features, {}, payload), -E2BIG);
}

TEST_F(Controls, SayWhichStepFailedToOpenThem) {
  const RefusedFlags disabled(IORING_SETUP_SQE128, -EPERM);
  const size_t before = open_file_count();
  const Status status = control_.open();
  EXPECT_EQ(status.step, "CREATE_RING");
  EXPECT_EQ(status.error, -EPERM);
  EXPECT_EQ(open_file_count(), before);
}

}  // namespace
}  // namespace ublk
