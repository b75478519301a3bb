#pragma once

#include <string>

namespace checker {

// Puts a mark into the log of a dm-log-writes device. Negative errno on failure.
int set_mark(const std::string& device_name, const std::string& mark);

}  // namespace checker
