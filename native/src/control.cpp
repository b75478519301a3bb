#include "control.hpp"

#include <fcntl.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <mutex>

#include "bring_up_turn.hpp"
#include "command_worker.hpp"
#include "fail_point.hpp"

namespace ublk {

namespace {

constexpr size_t payload_bytes_max = 1024;
// Room for /dev/ublkcN and its NUL in front of a payload, which stays aligned.
constexpr size_t path_bytes = 32;
// START_DEV and END_USER_RECOVERY sleep interruptibly in the kernel; being interrupted is no verdict on the
// device.
constexpr int interrupted_retries_max = 16;

uint64_t now_ms() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1'000'000;
}

template <typename T>
std::span<std::byte> bytes_of(T& value) {
  return {reinterpret_cast<std::byte*>(&value), sizeof(value)};
}

abi::CtrlCmd for_device(DeviceName device) {
  abi::CtrlCmd command = {};
  command.dev_id = device.id;
  command.queue_id = abi::no_queue;
  command.dev_path_len = device.unprivileged ? path_bytes : 0;
  return command;
}

}  // namespace

struct Control::Pending {
  uint32_t operation = 0;
  abi::CtrlCmd command = {};
  alignas(8) std::array<std::byte, path_bytes + payload_bytes_max> memory = {};

  // What follows the path, where there is one.
  std::byte* payload() { return memory.data() + command.dev_path_len; }
  void attach(std::span<const std::byte> bytes) {
    const size_t length = command.dev_path_len + bytes.size();
    if (length == 0) return;
    if (command.dev_path_len != 0) write_path();
    if (!bytes.empty()) std::memcpy(payload(), bytes.data(), bytes.size());
    command.addr = reinterpret_cast<uint64_t>(memory.data());
    command.len = static_cast<uint16_t>(length);
  }

 private:
  void write_path() {
    std::snprintf(reinterpret_cast<char*>(memory.data()), path_bytes, "/dev/ublkc%u", command.dev_id);
  }
};

Control::Control() = default;
// What the kernel may still write into outlives everything: keeping it is the lesser harm.
Control::~Control() {
  static std::mutex mutex;
  static auto& kept = *new std::vector<std::unique_ptr<Pending>>;
  const std::lock_guard lock(mutex);
  for (auto& [serial, pending] : abandoned_) kept.push_back(std::move(pending));
}

Status Control::open() {
  if (control_.valid()) return Status::success();
  UniqueFd control(::open("/dev/ublk-control", O_RDWR | O_CLOEXEC));
  if (!control.valid()) return {-errno, "OPEN_CONTROL"};
  const int result =
      ring_.create({.entries = 8, .completion_entries = 64, .sqe128 = true, .single_issuer = false});
  if (result < 0) return {result, "CREATE_RING"};
  control_ = std::move(control);
  return Status::success();
}

int Control::command(uint32_t operation, abi::CtrlCmd command, std::span<std::byte> payload,
                     uint32_t deadline_ms) {
  if (payload.size() > payload_bytes_max) return -E2BIG;
  reach(Moment::before, operation);
  int result = open().error;
  for (int attempt = 0; result == 0 && attempt < interrupted_retries_max; attempt++) {
    const uint64_t serial = next_serial_++;
    auto pending = std::make_unique<Pending>();
    pending->operation = operation;
    pending->command = command;
    pending->attach(payload);
    result = submit(*pending, serial);
    if (result < 0) return result;
    if (!wait_for(serial, deadline_ms, result)) {
      abandoned_.emplace(serial, std::move(pending));
      last_timeout_ = {.waited_ms = deadline_ms, .seen = describe_command_worker()};
      return result;
    }
    if (result >= 0 && !payload.empty()) {
      std::memcpy(payload.data(), pending->payload(), payload.size());
    }
    reach(Moment::after, operation);
    if (result != -EINTR) return result;
    result = 0;
  }
  return result < 0 ? result : -EINTR;
}

int Control::submit(Pending& pending, uint64_t serial) {
  io_uring_sqe* sqe = ring_.next_sqe();
  if (sqe == nullptr) return -EBUSY;
  sqe->opcode = IORING_OP_URING_CMD;
  sqe->fd = control_.get();
  sqe->cmd_op = pending.operation;
  sqe->user_data = serial;
  std::memcpy(sqe->cmd, &pending.command, sizeof(pending.command));
  return 0;
}

// False: the kernel has not answered, and `result` says why nobody waits any longer.
bool Control::wait_for(uint64_t serial, uint32_t deadline_ms, int& result) {
  const uint64_t deadline = now_ms() + deadline_ms;
  while (!take_result(serial, result)) {
    const uint64_t now = now_ms();
    result = -ETIMEDOUT;
    if (now >= deadline) return false;
    result = ring_.submit_and_wait_for(static_cast<uint32_t>(deadline - now));
    if (result < 0 && result != -ETIME && result != -EINTR && result != -EAGAIN) return false;
  }
  return true;
}

bool Control::take_result(uint64_t serial, int& result) {
  bool found = false;
  for (const Completion& completion : ring_.take_completions()) {
    if (completion.user_data == serial) {
      result = completion.result;
      found = true;
    } else {
      abandoned_.erase(completion.user_data);
    }
  }
  return found;
}

bool Control::owes_answers() {
  int result = 0;
  if (!abandoned_.empty()) take_result(0, result);
  return !abandoned_.empty();
}

void Control::close() {
  ring_.reset();
  control_.reset();
}

Status explained(const Control& control, int result, std::string step) {
  Status status = Status::of(result, std::move(step));
  if (result != -ETIMEDOUT) return status;
  status.waited_ms = control.last_timeout().waited_ms;
  status.seen = control.last_timeout().seen;
  return status;
}

int get_features(Control& control, uint64_t& features) {
  return control.command(abi::cmd_get_features, for_device(UINT32_MAX), bytes_of(features));
}

int add_device(Control& control, abi::DevInfo& info) {
  const BringUpTurn turn;
  return control.command(abi::cmd_add_dev, for_device(info.dev_id), bytes_of(info));
}

// Without the path an unprivileged device is -EINVAL; with it, GET_DEV_INFO2 alone answers for both kinds.
int get_device_info(Control& control, uint32_t device_id, abi::DevInfo& info) {
  const int result = control.command(abi::cmd_get_dev_info, for_device(device_id), bytes_of(info));
  if (result != -EINVAL) return result;
  return control.command(abi::cmd_get_dev_info2, for_device({device_id, true}), bytes_of(info));
}

int set_params(Control& control, DeviceName device, const abi::Params& params) {
  abi::Params copy = params;
  return control.command(abi::cmd_set_params, for_device(device), bytes_of(copy));
}

int get_params(Control& control, DeviceName device, abi::Params& params) {
  params.len = sizeof(params);
  return control.command(abi::cmd_get_params, for_device(device), bytes_of(params));
}

int get_queue_affinity(Control& control, DeviceName device, uint16_t queue_id,
                       std::span<std::byte> cpu_mask) {
  abi::CtrlCmd command = for_device(device);
  command.data[0] = queue_id;
  return control.command(abi::cmd_get_queue_affinity, command, cpu_mask);
}

int start_device(Control& control, DeviceName device, int server_pid) {
  abi::CtrlCmd command = for_device(device);
  command.data[0] = static_cast<uint64_t>(server_pid);
  const BringUpTurn turn;
  return control.command(abi::cmd_start_dev, command);
}

int stop_device(Control& control, DeviceName device, uint32_t deadline_ms) {
  return control.command(abi::cmd_stop_dev, for_device(device), {}, deadline_ms);
}

int try_stop_device(Control& control, DeviceName device, uint32_t deadline_ms) {
  return control.command(abi::cmd_try_stop_dev, for_device(device), {}, deadline_ms);
}

int update_size(Control& control, DeviceName device, uint64_t size_bytes) {
  abi::CtrlCmd command = for_device(device);
  command.data[0] = size_bytes >> 9;
  return control.command(abi::cmd_update_size, command);
}

int quiesce_device(Control& control, DeviceName device, uint32_t timeout_ms) {
  abi::CtrlCmd command = for_device(device);
  command.data[0] = timeout_ms;
  return control.command(abi::cmd_quiesce_dev, command, {}, timeout_ms + default_deadline_ms);
}

int delete_device(Control& control, DeviceName device, uint32_t deadline_ms) {
  return control.command(abi::cmd_del_dev, for_device(device), {}, deadline_ms);
}

int start_user_recovery(Control& control, DeviceName device) {
  return control.command(abi::cmd_start_user_recovery, for_device(device));
}

int end_user_recovery(Control& control, DeviceName device, int server_pid) {
  abi::CtrlCmd command = for_device(device);
  command.data[0] = static_cast<uint64_t>(server_pid);
  const BringUpTurn turn;
  return control.command(abi::cmd_end_user_recovery, command);
}

}  // namespace ublk
