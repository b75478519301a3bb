#include "copy_start.hpp"

#include <algorithm>

#include "clock.hpp"

namespace ublk {

namespace {

// Each device once: one that has two copies is frozen for both.
std::vector<SharedDevice> devices_of(const std::vector<CopyOfDevice>& copies) {
  std::vector<SharedDevice> devices;
  for (const auto& [copy, device] : copies) {
    if (device == nullptr) continue;
    const auto same = [&device](const SharedDevice& known) { return known.get() == device.get(); };
    if (std::none_of(devices.begin(), devices.end(), same)) devices.push_back(device);
  }
  return devices;
}

// Nothing changes in any of the images meanwhile. Once the queues know of the copies nothing has to stand
// still.
Status begin_all(const std::vector<CopyOfDevice>& copies) {
  for (const auto& [copy, device] : copies) {
    const int begun = copy->begin();
    if (begun < 0) return {.error = begun, .step = "BEGIN_COPY"};
    if (device != nullptr) device->hold_back_for(copy);
  }
  return Status::success();
}

}  // namespace

// The order of a start:
//  1. the devices hold requests back, and what was in flight ends
//  2. every copy says in its file that it counts: a crash from here on finds all of them, or a group of which
//  one
//     does not count, whose others are dropped then, since nobody has been told of them
//  3. the queues are made to ask the copies
//  4. the proof that no device has let requests pass before that
//  5. requests go on, and the copies begin to run
Status start_copies(const std::vector<CopyOfDevice>& copies, uint32_t deadline_ms, uint64_t& frozen_ns) {
  const std::vector<SharedDevice> devices = devices_of(copies);
  const uint64_t begun_ns = monotonic_ns();
  const uint64_t until_ns = begun_ns + deadline_ms * ns_per_ms;
  Status status = hold_together(devices, until_ns);
  if (status.ok()) {
    status = begin_all(copies);
    if (status.ok()) status = check_held(devices, until_ns);
    for (const SharedDevice& device : devices) device->thaw(until_ns);
  }
  frozen_ns = monotonic_ns() - begun_ns;
  for (const auto& [copy, device] : copies) {
    if (!status.ok()) {
      copy->cancel();
      continue;
    }
    const int running = copy->run();
    if (running < 0) status = {.error = running, .step = "BEGIN_COPY"};
  }
  if (status.ok()) return status;
  for (const auto& [copy, device] : copies) copy->cancel();
  if (status.error == -ETIMEDOUT) status.waited_ms = deadline_ms;
  return status;
}

}  // namespace ublk
