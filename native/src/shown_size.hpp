#pragma once

#include <cstdint>

#include "control.hpp"

namespace ublk {

// The size that the block device has for its users, in bytes, or a negative errno: from sysfs, or where that
// is not mounted, what the driver says.
int64_t read_shown_size(Control& control, uint32_t device_id);

}  // namespace ublk
