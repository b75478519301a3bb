#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "device.hpp"
#include "fake_control.hpp"
#include "scratch.hpp"

namespace ublk {

// Devices over fakes of the driver.
class DeviceRig : public ::testing::Test {
 protected:
  using Log = std::vector<std::string>;
  static constexpr uint64_t image_bytes = 1 << 20;
  static constexpr uint16_t queue_count = 2;
  static constexpr uint16_t queue_depth = 4;

  // A recoverable device over a file, with all that the kernel of today grants.
  DeviceSpec spec() {
    DeviceSpec spec;
    spec.target = {.kind = TargetKind::file, .path = image(), .size_bytes = image_bytes};
    spec.queue_count = queue_count;
    spec.queue_depth = queue_depth;
    spec.max_io_bytes = 65536;
    spec.features = abi::f_user_recovery | abi::f_user_recovery_reissue | abi::f_update_size |
                    abi::f_quiesce | abi::f_safe_stop_dev;
    return spec;
  }
  const std::string& image() const { return image_; }

  std::unique_ptr<Device> device(DeviceSpec spec) {
    return std::make_unique<Device>(std::move(spec), DeviceEvents{.on_io_error = [](const IoError&) {},
                                                                  .on_stopped = [this] { stops_++; }});
  }
  std::unique_ptr<Device> opened(DeviceSpec spec) {
    auto device = this->device(std::move(spec));
    const Status status = device->open(control_);
    EXPECT_TRUE(status.ok()) << status.step << status.error;
    driver_.take_commands(size_t{queue_count} * queue_depth);
    news();
    return device;
  }
  // The log since it was last asked for.
  Log news() {
    const Log log = kernel_.log();
    const Log fresh(log.begin() + static_cast<long>(told_), log.end());
    told_ = log.size();
    return fresh;
  }

  std::atomic<int> stops_ = 0;
  size_t told_ = 0;
  const Scratch scratch_;
  const std::string image_ = scratch_.file("image", image_bytes);
  FakeDriver driver_;
  FakeControl kernel_{driver_};
  Control control_;
};

}  // namespace ublk
