#pragma once

#include <string>

namespace ublk {

// Where in the kernel the control commands of the calling thread stand that have not come back, for an error
// message: the innermost functions of the kernel threads that run them. Empty when that cannot be read, which
// takes root.
std::string describe_command_worker();

}  // namespace ublk
