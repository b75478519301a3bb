// A device's whole life over fakes of the driver: the orders of bring-up, teardown and recovery.
#include "device.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "device_rig.hpp"
#include "open_files.hpp"
#include "refused_flags.hpp"
#include "wait_until.hpp"

namespace ublk {
namespace {

using Log = std::vector<std::string>;

constexpr uint64_t recovery = abi::f_user_recovery | abi::f_user_recovery_reissue;

const Log bring_up = {"ADD_DEV",
                      "open",
                      "SET_PARAMS",
                      "GET_PARAMS",
                      "GET_QUEUE_AFFINITY",
                      "GET_QUEUE_AFFINITY",
                      "GET_QUEUE_AFFINITY",
                      "START_DEV"};

class Devices : public DeviceRig {
 protected:
  static constexpr uint16_t queue_count = 3;
  static constexpr uint16_t queue_depth = 5;

  DeviceSpec spec() {
    DeviceSpec spec = DeviceRig::spec();
    spec.queue_count = queue_count;
    spec.queue_depth = queue_depth;
    spec.features = recovery;
    spec.owner_tag = 0x1234;
    return spec;
  }
};

TEST_F(Devices, ComeUpInOrderAndGoInOrder) {
  const auto disk = device(spec());
  const Status opened = disk->open(control_);
  ASSERT_TRUE(opened.ok()) << opened.step;
  EXPECT_EQ(news(), bring_up);
  EXPECT_EQ(kernel_.info().state, abi::state_live);
  EXPECT_TRUE(disk->remove(control_).ok());
  EXPECT_EQ(news(), (Log{"STOP_DEV", "DEL_DEV"}));
  EXPECT_EQ(kernel_.references_at_delete(), 0u) << "DEL_DEV would wait for it for ever";
  EXPECT_EQ(stops_, 0) << "we asked for it";
}

TEST_F(Devices, TellTheDriverWhatTheyAre) {
  DeviceSpec wanted = spec();
  wanted.target.logical_block_bytes = 4096;
  wanted.target.discard = true;
  const auto disk = device(std::move(wanted));
  ASSERT_TRUE(disk->open(control_).ok());
  const abi::DevInfo info = kernel_.info();
  EXPECT_EQ(info.nr_hw_queues, queue_count);
  EXPECT_EQ(info.queue_depth, queue_depth);
  EXPECT_EQ(info.max_io_buf_bytes, 65536u);
  EXPECT_EQ(info.flags, recovery);
  EXPECT_EQ(info.ublksrv_flags, 0x1234u);
  EXPECT_EQ(info.ublksrv_pid, ::getpid());
  const abi::Params params = kernel_.params();
  EXPECT_EQ(params.basic.dev_sectors, image_bytes / 512);
  EXPECT_EQ(params.basic.logical_bs_shift, 12);
  EXPECT_NE(params.basic.attrs & abi::attr_volatile_cache, 0u) << "or no FLUSH ever comes";
  EXPECT_NE(params.basic.attrs & abi::attr_fua, 0u);
  EXPECT_NE(params.discard.max_discard_sectors, 0u);
  EXPECT_TRUE(disk->remove(control_).ok());
}

TEST_F(Devices, ServeOnEveryQueueAndSumTheirCounters) {
  const auto disk = device(spec());
  ASSERT_TRUE(disk->open(control_).ok());
  driver_.take_commands(queue_count * queue_depth);
  abi::IoDesc read;
  read.op_flags = abi::op_read;
  read.nr_sectors = 8;
  for (uint16_t queue = 0; queue < queue_count; queue++) {
    driver_.deliver(queue, queue_depth - 1, read);
    const auto commit = driver_.take_command();
    ASSERT_TRUE(commit);
    EXPECT_EQ(commit->io.q_id, queue);
    EXPECT_EQ(commit->io.result, 4096);
  }
  EXPECT_EQ(disk->counters().reads, queue_count);
  EXPECT_EQ(disk->counters().read_bytes, queue_count * 4096u);
  EXPECT_TRUE(disk->remove(control_).ok());
  EXPECT_EQ(disk->counters().reads, queue_count) << "counters outlive the queues";
}

TEST_F(Devices, AreNotMadeForAnImageThatIsNotThere) {
  DeviceSpec wanted = spec();
  wanted.target.path = scratch_.path("missing");
  const Status status = device(std::move(wanted))->open(control_);
  EXPECT_EQ(status.step, "OPEN_TARGET");
  EXPECT_EQ(status.error, -ENOENT);
  EXPECT_EQ(news(), Log{});
}

// Each step of bring-up fails once; nothing may stay behind, and the next attempt succeeds.
TEST_F(Devices, LeaveNothingBehindWhicheverStepFails) {
  struct Failure {
    uint32_t command;
    const char* step;
  };
  ASSERT_TRUE(control_.open().ok());
  const size_t files_before = open_file_count();
  for (const auto& [command, step] :
       std::initializer_list<Failure>{{abi::cmd_add_dev, "ADD_DEV"},
                                      {0, "OPEN_CHAR"},
                                      {abi::cmd_set_params, "SET_PARAMS"},
                                      {abi::cmd_get_params, "GET_PARAMS"},
                                      {abi::cmd_get_queue_affinity, "GET_QUEUE_AFFINITY"},
                                      {abi::cmd_start_dev, "START_DEV"}}) {
    kernel_.refuse(command, -EIO);
    const Status status = device(spec())->open(control_);
    EXPECT_EQ(status.step, step);
    EXPECT_EQ(status.error, -EIO) << step;
    EXPECT_FALSE(kernel_.has_device()) << step;
    EXPECT_EQ(open_file_count(), files_before) << step;
  }
  EXPECT_EQ(kernel_.references_at_delete(), 0u);
  const auto disk = device(spec());
  EXPECT_TRUE(disk->open(control_).ok());
  EXPECT_TRUE(disk->remove(control_).ok());
  EXPECT_EQ(stops_, 0);
}

TEST_F(Devices, LeaveNothingBehindWhenAQueueCannotStart) {
  ASSERT_TRUE(control_.open().ok());
  const RefusedFlags no_data_ring(IORING_SETUP_CQSIZE, -ENOMEM);
  const Status status = device(spec())->open(control_);
  EXPECT_EQ(status.step, "CREATE_RING");
  EXPECT_EQ(status.error, -ENOMEM);
  EXPECT_FALSE(kernel_.has_device());
}

TEST_F(Devices, WaitForUdevToLetGoOfANewNode) {
  kernel_.refuse(0, -EBUSY, 3);
  const auto disk = device(spec());
  EXPECT_TRUE(disk->open(control_).ok());
  EXPECT_TRUE(disk->remove(control_).ok());
}

TEST_F(Devices, NoticeParametersThatTheDriverDropped) {
  kernel_.forget(0, abi::param_type_discard);
  const Status status = device(spec())->open(control_);
  EXPECT_EQ(status.step, "GET_PARAMS");
  EXPECT_EQ(status.error, -EPROTO);
  EXPECT_FALSE(kernel_.has_device());
}

TEST_F(Devices, ReportWhatTheDriverGranted) {
  kernel_.forget(recovery, 0);
  const auto disk = device(spec());
  ASSERT_TRUE(disk->open(control_).ok());
  EXPECT_EQ(disk->info().flags, 0u);
  EXPECT_FALSE(disk->recoverable());
  EXPECT_TRUE(disk->remove(control_).ok());
}

TEST_F(Devices, TellWhenTheKernelEndsThem) {
  const auto disk = device(spec());
  ASSERT_TRUE(disk->open(control_).ok());
  driver_.stop();
  EXPECT_TRUE(wait_until([&] { return stops_ == 1; }));
  EXPECT_TRUE(disk->remove(control_).ok());
  EXPECT_EQ(stops_, 1);
}

TEST_F(Devices, StayWhenStopFailsAndGoOnTheNextTry) {
  const auto disk = device(spec());
  ASSERT_TRUE(disk->open(control_).ok());
  kernel_.refuse(abi::cmd_stop_dev, -EBUSY);
  const Status failed = disk->remove(control_);
  EXPECT_EQ(failed.step, "STOP_DEV");
  EXPECT_EQ(failed.error, -EBUSY);
  EXPECT_EQ(driver_.armed_tags(), size_t{queue_count} * queue_depth) << "still served";
  EXPECT_TRUE(disk->remove(control_).ok());
  EXPECT_FALSE(kernel_.has_device());
}

TEST_F(Devices, CanBeDeletedAgainWhenDeleteFails) {
  const auto disk = device(spec());
  ASSERT_TRUE(disk->open(control_).ok());
  kernel_.refuse(abi::cmd_del_dev, -EBUSY);
  EXPECT_EQ(disk->remove(control_).step, "DEL_DEV");
  EXPECT_TRUE(disk->remove(control_).ok());
  EXPECT_FALSE(kernel_.has_device());
}

TEST_F(Devices, AreRemovedThoughTheKernelHasForgottenThem) {
  const auto disk = device(spec());
  ASSERT_TRUE(disk->open(control_).ok());
  kernel_.refuse(abi::cmd_stop_dev, -ENODEV);
  kernel_.refuse(abi::cmd_del_dev, -ENODEV);
  EXPECT_TRUE(disk->remove(control_).ok());
}

TEST_F(Devices, ReleaseLeavesTheDeviceToTheNextServer) {
  ASSERT_TRUE(control_.open().ok());
  const size_t files_before = open_file_count();
  auto disk = device(spec());
  ASSERT_TRUE(disk->open(control_).ok());
  news();
  disk->release();
  EXPECT_EQ(news(), Log{}) << "no command: the kernel notices by itself";
  EXPECT_TRUE(kernel_.has_device());
  disk.reset();
  EXPECT_EQ(open_file_count(), files_before);
  EXPECT_EQ(stops_, 0);
}

class Recovery : public Devices {
 protected:
  // As a server that died has left it.
  void leave_behind() {
    const auto dead = device(spec());
    ASSERT_TRUE(dead->open(control_).ok());
    dead->release();
    driver_.forget_tags();
    kernel_.leave_quiesced(kernel_.info(), kernel_.params());
    news();
  }
  DeviceSpec taking_back() {
    DeviceSpec wanted = spec();
    wanted.recover = true;
    wanted.device_id = FakeControl::device_id;
    wanted.queue_count = 1;
    wanted.queue_depth = 1;
    wanted.target.size_bytes = 0;
    return wanted;
  }
};

TEST_F(Recovery, TakesTheGeometryFromTheKernelAndSetsNoParams) {
  leave_behind();
  const auto heir = device(taking_back());
  const Status status = heir->open(control_);
  ASSERT_TRUE(status.ok()) << status.step << status.error;
  EXPECT_EQ(news(), (Log{"GET_DEV_INFO", "GET_PARAMS", "START_USER_RECOVERY", "open", "GET_QUEUE_AFFINITY",
                         "GET_QUEUE_AFFINITY", "GET_QUEUE_AFFINITY", "END_USER_RECOVERY"}));
  EXPECT_EQ(heir->geometry().size_bytes, image_bytes);
  EXPECT_EQ(kernel_.info().state, abi::state_live);
  EXPECT_TRUE(heir->remove(control_).ok());
}

TEST_F(Recovery, WaitsForTheOldServerToLetGo) {
  leave_behind();
  kernel_.refuse(abi::cmd_start_user_recovery, -EBUSY, 5);
  const auto heir = device(taking_back());
  EXPECT_TRUE(heir->open(control_).ok());
  EXPECT_TRUE(heir->remove(control_).ok());
}

TEST_F(Recovery, ThatAnotherServerHasBegunGoesOn) {
  leave_behind();
  kernel_.refuse(abi::cmd_start_user_recovery, -EINVAL);
  const auto heir = device(taking_back());
  const Status status = heir->open(control_);
  EXPECT_TRUE(status.ok()) << status.step << status.error;
  EXPECT_EQ(kernel_.info().state, abi::state_live);
  EXPECT_TRUE(heir->remove(control_).ok());
}

TEST_F(Recovery, OfADeviceThatDoesNotWaitForAServerIsRefused) {
  const auto server = device(spec());
  ASSERT_TRUE(server->open(control_).ok());
  kernel_.refuse(abi::cmd_start_user_recovery, -EINVAL);
  DeviceSpec wanted = taking_back();
  wanted.target.path = scratch_.file("another", image_bytes);
  const Status status = device(std::move(wanted))->open(control_);
  EXPECT_EQ(status.step, "START_USER_RECOVERY");
  EXPECT_EQ(status.error, -EINVAL);
  EXPECT_TRUE(server->remove(control_).ok());
}

TEST_F(Recovery, ThatFailsLeavesTheDeviceForAnotherTry) {
  leave_behind();
  kernel_.refuse(abi::cmd_end_user_recovery, -EIO);
  const Status status = device(taking_back())->open(control_);
  EXPECT_EQ(status.step, "END_USER_RECOVERY");
  EXPECT_TRUE(kernel_.has_device()) << "never delete what somebody may still use";
  driver_.forget_tags();
  const auto heir = device(taking_back());
  EXPECT_TRUE(heir->open(control_).ok());
  EXPECT_TRUE(heir->remove(control_).ok());
}

TEST_F(Recovery, OfAMissingImageTouchesNothing) {
  leave_behind();
  DeviceSpec wanted = taking_back();
  wanted.target.path = scratch_.path("missing");
  const Status status = device(std::move(wanted))->open(control_);
  EXPECT_EQ(status.step, "OPEN_TARGET");
  EXPECT_EQ(news(), (Log{"GET_DEV_INFO", "GET_PARAMS"}));
}

TEST_F(Recovery, OfAForeignDeviceCanBeItsRemoval) {
  leave_behind();
  EXPECT_TRUE(remove_foreign_device(control_, FakeControl::device_id).ok());
  EXPECT_EQ(news(), (Log{"GET_DEV_INFO", "STOP_DEV", "DEL_DEV"}));
  EXPECT_EQ(remove_foreign_device(control_, FakeControl::device_id).error, -ENODEV);
}

TEST_F(Recovery, OfAForeignDeviceRemovesNoOtherOneOfItsNumber) {
  leave_behind();
  abi::DevInfo info = {};
  ASSERT_EQ(get_device_info(control_, FakeControl::device_id, info), 0);
  news();
  EXPECT_EQ(remove_foreign_device(control_, FakeControl::device_id, info.ublksrv_flags + 1).error, -ENODEV);
  EXPECT_EQ(news(), (Log{"GET_DEV_INFO"}));
  EXPECT_TRUE(remove_foreign_device(control_, FakeControl::device_id, info.ublksrv_flags).ok());
}

}  // namespace
}  // namespace ublk
