// What may happen to a device between bring-up and teardown.
#include <cerrno>
#include <mutex>
#include <string>

#include "clock.hpp"
#include "device.hpp"
#include "shown_size.hpp"

namespace ublk {

namespace {

// For the requests in flight to end before memory is mapped anew; longer than any of them takes.
constexpr uint64_t remap_deadline_ms = 10'000;

}  // namespace

// The kernel cannot take a half-done QUIESCE_DEV back: with -EBUSY and -ETIMEDOUT too, requests stay in the
// kernel until the server has gone. So going is what helps, and it gives what was asked for.
Status Device::quiesce(Control& control, uint32_t timeout_ms) {
  if ((info_.flags & abi::f_quiesce) == 0 || !recoverable()) return {-EOPNOTSUPP, "QUIESCE_DEV"};
  begin_end();
  const int result = quiesce_device(control, name(), timeout_ms);
  if (result == -ENODEV || result == -EOPNOTSUPP || result == -EPERM) {
    take_back_end();
    return {.error = result, .step = "QUIESCE_DEV"};
  }
  release();
  return Status::success();
}

// The order of growing. Requests beyond the old end come only after step 3:
//  1. checks; UPDATE_SIZE was a NULL dereference on a device that is not live (before 7.0-rc4)
//  2. the target
//  3. UPDATE_SIZE
//  4. the proof that the block device shows the new size
Status Device::resize(Control& control, uint64_t size_bytes) {
  Status status = check_growth(control, size_bytes);
  if (!status.ok()) return status;
  status = grow_target(size_bytes);
  if (!status.ok()) return status;
  status = explained(control, update_size(control, name(), size_bytes), "UPDATE_SIZE");
  if (!status.ok()) return status;
  const int64_t shown_bytes = read_shown_size(control, info_.dev_id);
  if (shown_bytes < 0) return {static_cast<int>(shown_bytes), "UPDATE_SIZE"};
  if (static_cast<uint64_t>(shown_bytes) != size_bytes) return {-EPROTO, "UPDATE_SIZE"};
  geometry_.size_bytes = size_bytes;
  return Status::success();
}

Status Device::check_growth(Control& control, uint64_t size_bytes) {
  // The driver never checks this bit, but without it there is no such command.
  if ((info_.flags & abi::f_update_size) == 0) return {-EOPNOTSUPP, "UPDATE_SIZE"};
  const bool whole_blocks = size_bytes % geometry_.logical_block_bytes == 0;
  if (!whole_blocks || size_bytes < geometry_.size_bytes) return {-EINVAL, "UPDATE_SIZE"};
  abi::DevInfo now = {};
  const int result = get_device_info(control, info_.dev_id, now);
  if (result < 0) return {result, "GET_DEV_INFO"};
  return Status::of(now.state == abi::state_live ? 0 : -EBUSY, "UPDATE_SIZE");
}

Status Device::grow_target(uint64_t size_bytes) {
  const TargetOps& ops = *target_.ops;
  if (ops.grow == nullptr) return {.error = -EOPNOTSUPP, .step = "GROW_TARGET"};
  if (ops.grows_while_serving) {
    return Status::of(ops.grow(spec_.target, target_, size_bytes), "GROW_TARGET");
  }
  const int held = gate_.hold();
  if (held < 0) return {.error = held, .step = "FREEZE"};
  wake_queues();
  const int grown = grow_while_quiet(size_bytes);
  gate_.end_hold();
  wake_queues();
  return Status::of(grown, "GROW_TARGET");
}

// The queues see the target only while they work on a request.
int Device::grow_while_quiet(uint64_t size_bytes) {
  const int quiet = gate_.wait_until_held(monotonic_ns() + remap_deadline_ms * ns_per_ms);
  return quiet < 0 ? quiet : target_.ops->grow(spec_.target, target_, size_bytes);
}

void Device::set_limits(const Limits& limits) {
  limiter_.set(limits);
  wake_queues();
}

int Device::hold_requests(uint64_t until_ns, bool announced) {
  const int held = gate_.close(until_ns, announced);
  if (held == 0) wake_queues();
  return held;
}

bool Device::thaw(uint64_t until_ns) {
  const bool was_frozen = gate_.open(until_ns);
  wake_queues();
  return was_frozen;
}

int Device::sync_target() {
  const std::shared_lock lock(target_mutex_);
  return target_.ops == nullptr || target_.ops->sync == nullptr ? 0 : target_.ops->sync(target_);
}

}  // namespace ublk
