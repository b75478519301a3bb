#include "freeze.hpp"

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <mutex>

#include "clock.hpp"

namespace ublk {

namespace {

// The syncs of one freeze. Shared with them, since one that is stuck outlives it.
struct Syncs {
  std::mutex mutex;
  std::condition_variable done;
  size_t left = 0;
  int error = 0;
};

// A write that comes after this moment to any of the devices waits; whoever waits for it to finish writes
// nothing to the others. So what they hold is what was there at one instant, though they are closed one by
// one.
Status hold_all(const std::vector<SharedDevice>& devices, uint64_t until_ns, bool announced) {
  for (size_t i = 0; i < devices.size(); i++) {
    const int held = devices[i]->hold_requests(until_ns, announced);
    if (held == 0) continue;
    for (size_t j = 0; j < i; j++) devices[j]->thaw(until_ns);
    return {.error = held, .step = "FREEZE"};
  }
  return {};
}

Status wait_for_all(const std::vector<SharedDevice>& devices) {
  for (const SharedDevice& device : devices) {
    const int quiet = device->wait_until_quiet();
    if (quiet < 0) return {.error = quiet, .step = "FREEZE"};
  }
  return {};
}

Status sync_all(const std::vector<SharedDevice>& devices, uint64_t until_ns, const RunApart& apart) {
  const auto syncs = std::make_shared<Syncs>();
  syncs->left = devices.size();
  for (const SharedDevice& device : devices) {
    apart([syncs, device] {
      const int result = device->sync_target();
      const std::lock_guard lock(syncs->mutex);
      if (result < 0) syncs->error = result;
      syncs->left--;
      syncs->done.notify_all();
    });
  }
  std::unique_lock lock(syncs->mutex);
  const uint64_t now_ns = monotonic_ns();
  const std::chrono::nanoseconds left(until_ns > now_ns ? until_ns - now_ns : 0);
  const bool done = syncs->done.wait_for(lock, left, [&syncs] { return syncs->left == 0; });
  if (!done) return {.error = -ETIMEDOUT, .step = "FREEZE"};
  return Status::of(syncs->error, "FLUSH_TARGET");
}

void thaw_all(const std::vector<SharedDevice>& devices, uint64_t until_ns) {
  for (const SharedDevice& device : devices) device->thaw(until_ns);
}

}  // namespace

Status hold_together(const std::vector<SharedDevice>& devices, uint64_t until_ns, bool announced) {
  Status status = hold_all(devices, until_ns, announced);
  if (!status.ok()) return status;
  status = wait_for_all(devices);
  if (!status.ok()) thaw_all(devices, until_ns);
  return status;
}

Status check_held(const std::vector<SharedDevice>& devices, uint64_t until_ns) {
  for (const SharedDevice& device : devices) {
    if (device->frozen_until(until_ns)) continue;
    return {.error = monotonic_ns() >= until_ns ? -ETIMEDOUT : -ECANCELED, .step = "FREEZE"};
  }
  return {};
}

Status freeze_together(const std::vector<SharedDevice>& devices, uint32_t deadline_ms, const RunApart& apart,
                       uint64_t& until_ns) {
  until_ns = monotonic_ns() + deadline_ms * ns_per_ms;
  Status status = hold_together(devices, until_ns, true);
  if (status.ok()) {
    status = sync_all(devices, until_ns, apart);
    if (status.ok()) status = check_held(devices, until_ns);
    if (!status.ok()) thaw_all(devices, until_ns);
  }
  if (status.error == -ETIMEDOUT) status.waited_ms = deadline_ms;
  return status;
}

}  // namespace ublk
