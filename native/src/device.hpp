#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <vector>

#include "abi.hpp"
#include "control.hpp"
#include "copy_barrier.hpp"
#include "device_counters.hpp"
#include "gate.hpp"
#include "limiter.hpp"
#include "params.hpp"
#include "queue.hpp"
#include "status.hpp"
#include "target.hpp"

namespace ublk {

struct DeviceSpec {
  TargetSpec target;
  int32_t device_id = -1;  // -1: the next free one
  bool recover = false;    // take back an existing device; its geometry comes from the kernel
  uint16_t queue_count = 1;
  uint16_t queue_depth = 64;
  uint32_t max_io_bytes = 0;
  uint64_t features = 0;       // abi::f_*, as wished; the driver grants what it knows
  std::vector<uint32_t> cpus;  // of every queue's thread; empty: those of its hardware queue
  uint64_t owner_tag = 0;      // ublksrv_flags
  Limits limits;
  std::vector<SharedCopy> copies;  // of its image, which were begun before the device is there
};

struct DeviceEvents {
  std::function<void(const IoError&)> on_io_error;
  std::function<void()> on_stopped;      // the kernel ended serving without us having asked
  std::function<void()> on_thawed = {};  // the deadline of a freeze has passed
};

// One ublk device served by this process. The verbs with a control channel run one at a time, on the
// device's lane; once it is open, the others may be called from any thread.
class Device {
 public:
  Device(DeviceSpec spec, DeviceEvents events) : spec_(std::move(spec)), events_(std::move(events)) {
    limiter_.set(spec_.limits);
  }
  ~Device() { release(); }

  // Bring-up or, with spec.recover, recovery. On failure nothing is left behind: no device, or the device
  // that was to be recovered as it was.
  Status open(Control& control);
  // Ordered stop: the kernel writes dirty pages back through us, then the device goes. May be tried again on
  // failure. `only_if_unused`: -EBUSY while anybody has it open, -EOPNOTSUPP where the kernel cannot tell.
  Status remove(Control& control, bool only_if_unused = false);
  // As release(), after the kernel was told to keep new requests. -EOPNOTSUPP where it cannot, else final.
  Status quiesce(Control& control, uint32_t timeout_ms);
  // Grows target and device, in this order. On failure the device has its old size.
  Status resize(Control& control, uint64_t size_bytes);
  // Has every queue look again at what others may have changed. Once the device is open: any thread.
  void wake_queues();
  // Ends serving without stopping: a recoverable device keeps its users waiting for the next server.
  void release();

  void set_limits(const Limits& limits);
  // The parts of a freeze, see freeze.hpp. Until thaw(), or the moment given, no request goes to the target.
  // `announced`: the event tells when that moment was first.
  int hold_requests(uint64_t until_ns, bool announced);
  int wait_until_quiet() { return gate_.wait_until_quiet(); }
  int sync_target();
  // Whether it was frozen until now. With a moment, only by the freeze that ends then: no other is touched.
  bool thaw(uint64_t until_ns = 0);
  bool frozen() const { return gate_.closed(); }
  bool frozen_until(uint64_t until_ns) const { return frozen() && gate_.closed_until_ns() == until_ns; }
  // From the next thaw() on requests that change what this copy of the image lacks wait for it.
  void hold_back_for(const SharedCopy& copy) { copies_.add(copy); }

  const abi::DevInfo& info() const { return info_; }
  const Geometry& geometry() const { return geometry_; }
  bool direct() const { return target_.direct; }
  DataMode data_mode() const { return to_data_mode(info_.flags); }
  bool batch() const { return (info_.flags & abi::f_batch_io) != 0; }
  bool recoverable() const { return (info_.flags & abi::f_user_recovery) != 0; }
  DeviceCounters counters() const;

 private:
  Status add(Control& control);
  Status recover(Control& control);
  Status open_target();
  Status claim_image(uint32_t deadline_ms);
  Status open_char_device();
  DeviceName name() const { return DeviceName(info_); }
  Status negotiate_params(Control& control);
  Status start_queues(Control& control);
  bool loses_late_requests() const;
  Status choose_cpus(Control& control, QueueSpec& spec) const;
  Status begin_recovery(Control& control);
  bool recovery_has_begun(Control& control) const;
  int stop(Control& control, bool only_if_unused, const char*& step);
  Status check_growth(Control& control, uint64_t size_bytes);
  Status grow_target(uint64_t size_bytes);
  int grow_while_quiet(uint64_t size_bytes);
  void begin_end();
  void take_back_end();
  void give_up_late_answers();
  void on_queue_ended();

  DeviceSpec spec_;
  DeviceEvents events_;
  abi::DevInfo info_ = {};
  Geometry geometry_;
  std::shared_mutex target_mutex_;  // against closing the target while it is synced
  Target target_;
  UniqueFd char_device_;
  Limiter limiter_;
  CopyBarrier copies_;
  Gate gate_{[this] {
    if (events_.on_thawed) events_.on_thawed();
  }};
  std::vector<std::unique_ptr<Queue>> queues_;
  std::atomic<uint32_t> ended_queues_{0};
  std::atomic<bool> closing_{false};
};

// Stops and deletes a device that this process does not serve. With a tag only the device that has it: the id
// may be another one's by now, and then the device is gone (-ENODEV).
Status remove_foreign_device(Control& control, uint32_t device_id,
                             std::optional<uint64_t> owner_tag = std::nullopt);

}  // namespace ublk
