// What may happen to a device between bring-up and teardown.
#include <cerrno>
#include <string>

#include "device.hpp"
#include "shown_size.hpp"

namespace ublk {

// The kernel cannot take a half-done QUIESCE_DEV back: with -EBUSY and -ETIMEDOUT too, requests stay in the
// kernel until the server has gone. So going is what helps, and it gives what was asked for.
Status Device::quiesce(Control& control, uint32_t timeout_ms) {
  if ((info_.flags & abi::f_quiesce) == 0 || !recoverable()) return {-EOPNOTSUPP, "QUIESCE_DEV"};
  closing_ = true;
  const int result = quiesce_device(control, name(), timeout_ms);
  if (result == -ENODEV || result == -EOPNOTSUPP || result == -EPERM) {
    closing_ = false;
    return {result, "QUIESCE_DEV"};
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
  status = Status::of(grow_target(size_bytes), "GROW_TARGET");
  if (!status.ok()) return status;
  status = Status::of(update_size(control, name(), size_bytes), "UPDATE_SIZE");
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

int Device::grow_target(uint64_t size_bytes) {
  if (target_.ops->grow == nullptr) return -EOPNOTSUPP;
  return target_.ops->grow(spec_.target, target_, size_bytes);
}

}  // namespace ublk
