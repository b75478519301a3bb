#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "device.hpp"
#include "status.hpp"

namespace ublk {

using SharedDevice = std::shared_ptr<Device>;
// Runs a job on a thread of its own.
using RunApart = std::function<void(std::function<void()>)>;

// Holds back the requests of all these devices, and waits for those in flight: from success on, until thaw or
// the moment given, nothing changes in any target. On failure all of them are thawed.
Status hold_together(const std::vector<SharedDevice>& devices, uint64_t until_ns, bool announced = false);
// Whether they all still hold. One that has thawed meanwhile has let requests pass.
Status check_held(const std::vector<SharedDevice>& devices, uint64_t until_ns);

// Freezes devices at one instant: holds back the requests of all of them, waits for those in flight, and
// makes the targets durable. From success until thaw, or until the deadline, nothing changes in any target.
// On failure all of them are thawed. Waits at most `deadline_ms`. `until_ns` becomes the moment at which it
// ends, which names this freeze to thaw().
Status freeze_together(const std::vector<SharedDevice>& devices, uint32_t deadline_ms, const RunApart& apart,
                       uint64_t& until_ns);

}  // namespace ublk
