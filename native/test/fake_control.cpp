#include "fake_control.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <liburing.h>
#include <sched.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstring>
#include <filesystem>
#include <utility>

namespace ublk {

static std::atomic<FakeControl*> active_control = nullptr;

static const std::map<uint32_t, std::string> command_names = {
    {abi::cmd_get_queue_affinity, "GET_QUEUE_AFFINITY"},
    {abi::cmd_get_dev_info, "GET_DEV_INFO"},
    {abi::cmd_get_dev_info2, "GET_DEV_INFO2"},
    {abi::cmd_add_dev, "ADD_DEV"},
    {abi::cmd_del_dev, "DEL_DEV"},
    {abi::cmd_start_dev, "START_DEV"},
    {abi::cmd_stop_dev, "STOP_DEV"},
    {abi::cmd_set_params, "SET_PARAMS"},
    {abi::cmd_get_params, "GET_PARAMS"},
    {abi::cmd_start_user_recovery, "START_USER_RECOVERY"},
    {abi::cmd_end_user_recovery, "END_USER_RECOVERY"},
    {abi::cmd_get_features, "GET_FEATURES"},
    {abi::cmd_try_stop_dev, "TRY_STOP_DEV"},
    {abi::cmd_quiesce_dev, "QUIESCE_DEV"},
    {abi::cmd_update_size, "UPDATE_SIZE"},
};

// Rings that are there without any queue: those of both fakes, and that of the engine's control thread.
static constexpr size_t rings_without_queues = 3;

// Ways in which this process still holds the char device, but for the fake driver itself: descriptors, and
// rings, since their tables of registered files do.
static size_t char_device_references() {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const std::string link = std::filesystem::read_symlink(entry.path(), gone);
    if (link.starts_with("/memfd:fake-ublkc ") || link == "anon_inode:[io_uring]") count++;
  }
  return count - 1 - rings_without_queues;
}

template <typename T>
static int copy_out(const abi::CtrlCmd& command, const T& value) {
  std::memcpy(reinterpret_cast<void*>(command.addr), &value, std::min<size_t>(command.len, sizeof(value)));
  return 0;
}

template <typename T>
static T copied_in(const abi::CtrlCmd& command) {
  T value = {};
  std::memcpy(&value, reinterpret_cast<const void*>(command.addr),
              std::min<size_t>(command.len, sizeof(value)));
  return value;
}

FakeControl* FakeControl::active() {
  return active_control;
}

FakeControl::FakeControl(FakeDriver& driver)
    : driver_(driver),
      control_(::memfd_create("fake-ublk-control", MFD_CLOEXEC)),
      features_(~0ull),
      param_types_(~0u) {
  EXPECT_EQ(ring_.create({.entries = 8, .completion_entries = 64}), 0);
  active_control = this;
}

FakeControl::~FakeControl() {
  active_control = nullptr;
}

void FakeControl::leave_quiesced(const abi::DevInfo& info, const abi::Params& params) {
  info_ = info;
  info_.dev_id = device_id;
  info_.state = abi::state_quiesced;
  params_ = params;
  has_device_ = true;
}

void FakeControl::refuse(uint32_t command, int error, int times) {
  refusals_[command] = {error, times};
}

void FakeControl::forget(uint64_t features, uint32_t param_types) {
  features_ &= ~features;
  param_types_ &= ~param_types;
}

std::vector<std::string> FakeControl::log() const {
  const std::lock_guard lock(mutex_);
  return log_;
}

bool FakeControl::has_device() const {
  const std::lock_guard lock(mutex_);
  return has_device_;
}

abi::DevInfo FakeControl::info() const {
  const std::lock_guard lock(mutex_);
  return info_;
}

abi::Params FakeControl::params() const {
  const std::lock_guard lock(mutex_);
  return params_;
}

size_t FakeControl::references_at_delete() const {
  const std::lock_guard lock(mutex_);
  return references_at_delete_;
}

int FakeControl::open(const std::string& path) {
  if (path == "/dev/ublk-control") return ::fcntl(control_.get(), F_DUPFD_CLOEXEC, 0);
  if (path != "/dev/ublkc" + std::to_string(device_id)) return -ENOENT;
  const std::lock_guard lock(mutex_);
  auto& [error, times] = refusals_[0];
  if (times-- > 0) return error;
  log_.push_back("open");
  return ::fcntl(driver_.char_fd(), F_DUPFD_CLOEXEC, 0);
}

void FakeControl::intercept(io_uring* ring) {
  for (unsigned i = ring->sq.sqe_head; i != ring->sq.sqe_tail; i++) {
    io_uring_sqe& sqe = ring->sq.sqes[(i & ring->sq.ring_mask) << 1];
    if (sqe.opcode != IORING_OP_URING_CMD) continue;
    abi::CtrlCmd command;
    std::memcpy(&command, sqe.cmd, sizeof(command));
    const uint32_t operation = sqe.cmd_op;
    const uint64_t user_data = sqe.user_data;
    std::memset(&sqe, 0, 2 * sizeof(sqe));
    sqe.opcode = IORING_OP_NOP;
    sqe.flags = IOSQE_CQE_SKIP_SUCCESS;
    const std::lock_guard lock(mutex_);
    const int result = answer(operation, command);
    if (operation == withheld_command_) {
      withheld_.emplace_back(ring->ring_fd, user_data);
    } else {
      post(ring->ring_fd, user_data, result);
    }
  }
}

void FakeControl::release_withheld() {
  const std::lock_guard lock(mutex_);
  withheld_command_ = 0;
  for (const auto& [ring_fd, user_data] : std::exchange(withheld_, {})) post(ring_fd, user_data, 0);
}

void FakeControl::post(int ring_fd, uint64_t user_data, int result) {
  io_uring_prep_msg_ring(ring_.next_sqe(), ring_fd, static_cast<unsigned>(result), user_data, 0);
  EXPECT_GE(ring_.submit_and_wait_for(20'000), 0);
  for (const Completion& completion : ring_.take_completions()) EXPECT_EQ(completion.result, 0);
}

int FakeControl::answer(uint32_t operation, const abi::CtrlCmd& command) {
  const auto name = command_names.find(operation);
  log_.push_back(name == command_names.end() ? "unknown" : name->second);
  auto& [error, times] = refusals_[operation];
  return times-- > 0 ? error : act(operation, command);
}

int FakeControl::act(uint32_t operation, const abi::CtrlCmd& command) {
  switch (operation) {
    case abi::cmd_get_features:
      return copy_out(command, features_);
    case abi::cmd_add_dev:
      return add(command);
    default:
      return has_device_ && command.dev_id == device_id ? check_path(operation, command) : -ENODEV;
  }
}

// As the driver: the path stands before the payload of an unprivileged device's commands, and of no other's.
int FakeControl::check_path(uint32_t operation, abi::CtrlCmd command) {
  const bool unprivileged = (info_.flags & abi::f_unprivileged_dev) != 0;
  if (!unprivileged && operation != abi::cmd_get_dev_info2) return act_on_device(operation, command);
  if (command.dev_path_len == 0 || command.len < command.dev_path_len) return -EINVAL;
  const std::string path(reinterpret_cast<const char*>(command.addr));
  if (path != "/dev/ublkc" + std::to_string(device_id)) return -ENOENT;
  command.addr += command.dev_path_len;
  command.len = static_cast<uint16_t>(command.len - command.dev_path_len);
  return act_on_device(operation, command);
}

int FakeControl::add(const abi::CtrlCmd& command) {
  const auto wanted = copied_in<abi::DevInfo>(command);
  if (wanted.dev_id != command.dev_id || command.queue_id != abi::no_queue) return -EINVAL;
  if (has_device_) return -EEXIST;
  info_ = wanted;
  info_.dev_id = device_id;
  info_.flags &= features_;
  has_device_ = true;
  return copy_out(command, info_);
}

int FakeControl::act_on_device(uint32_t operation, const abi::CtrlCmd& command) {
  switch (operation) {
    case abi::cmd_get_dev_info:
    case abi::cmd_get_dev_info2:
      return copy_out(command, info_);
    case abi::cmd_set_params:
      params_ = copied_in<abi::Params>(command);
      params_.types &= param_types_;
      return 0;
    case abi::cmd_get_params:
      return copied_in<abi::Params>(command).len == 0 ? -EINVAL : copy_out(command, params_);
    case abi::cmd_get_queue_affinity:
      cpu_set_t cpus;
      ::sched_getaffinity(0, sizeof(cpus), &cpus);
      return command.len % 8 != 0 ? -EINVAL : copy_out(command, cpus);
    case abi::cmd_start_dev:
      return start();
    case abi::cmd_update_size:
      params_.basic.dev_sectors = command.data[0];
      return 0;
    case abi::cmd_quiesce_dev:
      driver_.stop();
      return 0;
    case abi::cmd_stop_dev:
    case abi::cmd_try_stop_dev:
      driver_.stop();
      info_.state = abi::state_dead;
      return 0;
    case abi::cmd_start_user_recovery:
      return info_.state == abi::state_quiesced ? 0 : -EBUSY;
    case abi::cmd_end_user_recovery:
      return start();
    case abi::cmd_del_dev:
      references_at_delete_ = char_device_references();
      has_device_ = false;
      driver_.forget_tags();
      return 0;
    default:
      return -EOPNOTSUPP;
  }
}

// The real driver would wait for the tags that are not fetched yet, for ever.
int FakeControl::start() {
  EXPECT_EQ(driver_.armed_tags(), size_t{info_.nr_hw_queues} * info_.queue_depth)
      << "every tag must be fetched first";
  info_.state = abi::state_live;
  return 0;
}

extern "C" int __real_io_uring_submit_and_wait_timeout(io_uring* ring, io_uring_cqe** cqe, unsigned count,
                                                       __kernel_timespec* timeout, sigset_t* mask);
extern "C" int __wrap_io_uring_submit_and_wait_timeout(io_uring* ring, io_uring_cqe** cqe, unsigned count,
                                                       __kernel_timespec* timeout, sigset_t* mask) {
  FakeControl* control = FakeControl::active();
  if (control != nullptr && (ring->flags & IORING_SETUP_SQE128) != 0) control->intercept(ring);
  // A queue's ring, not the one through which the fake driver answers.
  FakeDriver* driver = (ring->flags & IORING_SETUP_SINGLE_ISSUER) != 0 ? FakeDriver::active() : nullptr;
  if (driver != nullptr) driver->intercept(ring);
  const int result = __real_io_uring_submit_and_wait_timeout(ring, cqe, count, timeout, mask);
  if (driver != nullptr) driver->order_after_wait();
  return result;
}

extern "C" int __real_open(const char* path, int flags, ...);
extern "C" int __wrap_open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  FakeControl* control = FakeControl::active();
  if (control == nullptr || !std::string_view(path).starts_with("/dev/ublk"))
    return __real_open(path, flags, mode);
  const int result = control->open(path);
  if (result >= 0) return result;
  errno = -result;
  return -1;
}

}  // namespace ublk
