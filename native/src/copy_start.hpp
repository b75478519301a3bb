#pragma once

#include <cstdint>
#include <vector>

#include "device.hpp"
#include "freeze.hpp"
#include "image_copy.hpp"
#include "status.hpp"

namespace ublk {

// A copy that was made and not begun, and the device over its image, if there is one.
struct CopyOfDevice {
  SharedCopy copy;
  SharedDevice device;
};

// Begins all these copies at one instant, at which the devices hold their requests back; for `deadline_ms` at
// most, and `frozen_ns` says for how long. On failure none of them counts.
Status start_copies(const std::vector<CopyOfDevice>& copies, uint32_t deadline_ms, uint64_t& frozen_ns);

}  // namespace ublk
