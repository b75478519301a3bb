#pragma once

#include <cstdint>
#include <string_view>

namespace ublk {

// Where a crash test wants this process to die: right before or right after one kind of control command,
// which is all that changes a device. Inert until a test names a point.
enum class Moment { before, after };

// Names such as "before:ADD_DEV" and "after:START_DEV". -EINVAL when there is no such point.
int die_at(std::string_view point);

// Ends the process as SIGKILL does when this is the named point.
void reach(Moment moment, uint32_t operation);

}  // namespace ublk
