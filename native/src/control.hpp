#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "abi.hpp"
#include "ring.hpp"
#include "status.hpp"
#include "unique_fd.hpp"

namespace ublk {

constexpr uint32_t default_deadline_ms = 30'000;

// What is known of a command that did not come back in time.
struct Timeout {
  uint32_t waited_ms = 0;
  std::string seen;  // where in the kernel it stands, when that can be read
};

// A channel to /dev/ublk-control, used by one thread alone. Opened when first needed, so that a machine
// without ublk gets the error from the operation it asked for.
class Control {
 public:
  Control();
  ~Control();
  // Opens /dev/ublk-control and makes the ring; fails with the step OPEN_CONTROL or CREATE_RING. Cheap when
  // open.
  Status open();
  // The only way a command reaches the kernel. `payload` is what `command.addr` points to: copied in before
  // and out after. Interrupted waits go on; a command that does not come back in time gives -ETIMEDOUT, and
  // its memory is kept until the kernel returns it.
  int command(uint32_t operation, abi::CtrlCmd command, std::span<std::byte> payload = {},
              uint32_t deadline_ms = default_deadline_ms);
  // Of the last command that gave -ETIMEDOUT.
  const Timeout& last_timeout() const { return last_timeout_; }
  // Whether the kernel still has commands that were given up on.
  bool owes_answers();
  void close();

 private:
  struct Pending;
  int submit(Pending& pending, uint64_t serial);
  bool wait_for(uint64_t serial, uint32_t deadline_ms, int& result);
  bool take_result(uint64_t serial, int& result);

  UniqueFd control_;
  Ring ring_;
  uint64_t next_serial_ = 1;
  Timeout last_timeout_;
  // Commands given up on: the kernel may still write into them.
  std::unordered_map<uint64_t, std::unique_ptr<Pending>> abandoned_;
};

// As Status::of, with what is known of a command that did not come back.
Status explained(const Control& control, int result, std::string step);

// A device as commands name it. The driver wants the path of an unprivileged device's node in front of every
// payload, and checks with the node's mode whether the sender may do this; of other devices it does not.
struct DeviceName {
  uint32_t id = UINT32_MAX;
  bool unprivileged = false;

  DeviceName(uint32_t device_id, bool is_unprivileged = false)  // NOLINT: a number names a device
      : id(device_id), unprivileged(is_unprivileged) {}
  explicit DeviceName(const abi::DevInfo& info)
      : DeviceName(info.dev_id, (info.flags & abi::f_unprivileged_dev) != 0) {}
};

// One function per command. All take the device's name and give 0 or a negative errno.
int get_features(Control& control, uint64_t& features);
int add_device(Control& control, abi::DevInfo& info);
// Of any device, privileged or not.
int get_device_info(Control& control, uint32_t device_id, abi::DevInfo& info);
int set_params(Control& control, DeviceName device, const abi::Params& params);
int get_params(Control& control, DeviceName device, abi::Params& params);
int get_queue_affinity(Control& control, DeviceName device, uint16_t queue_id, std::span<std::byte> cpu_mask);
int start_device(Control& control, DeviceName device, int server_pid);
int stop_device(Control& control, DeviceName device, uint32_t deadline_ms);
// Stops the device unless somebody has it open: -EBUSY then, and nothing has changed.
int try_stop_device(Control& control, DeviceName device, uint32_t deadline_ms);
int delete_device(Control& control, DeviceName device, uint32_t deadline_ms);
int update_size(Control& control, DeviceName device, uint64_t size_bytes);
// Gives every idle tag back with ABORT and keeps new requests in the kernel. -EBUSY when a queue had no idle
// tag within `timeout_ms`; the device then takes no requests all the same, until its server has gone.
int quiesce_device(Control& control, DeviceName device, uint32_t timeout_ms);
int start_user_recovery(Control& control, DeviceName device);
int end_user_recovery(Control& control, DeviceName device, int server_pid);

}  // namespace ublk
