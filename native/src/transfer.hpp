#pragma once

#include "target.hpp"

namespace ublk {

// READ and WRITE on the target's file in the queue's ring, whatever the data mode.

bool is_transfer(const Request& request);
// Queues the whole, or what a short completion left over.
int64_t queue_transfer(TargetQueue& queue, const Request& request);
// For `complete_io`, once `result` is no error: goes on until everything has been moved.
int64_t complete_transfer(TargetQueue& queue, Request& request, int32_t result);

}  // namespace ublk
