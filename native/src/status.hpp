#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace ublk {

// The outcome of a life-cycle operation: 0, or a negative errno with the step that failed, as `ADD_DEV`.
struct Status {
  int error = 0;
  std::string step = {};
  uint32_t waited_ms = 0;  // with -ETIMEDOUT: for how long, and what the kernel was doing
  std::string seen = {};

  bool ok() const { return error == 0; }
  static Status success() { return {}; }
  // Turns the result of a step into a status: anything that is not negative is success.
  static Status of(int result, std::string step) {
    return result < 0 ? Status{.error = result, .step = std::move(step)} : Status{};
  }
};

}  // namespace ublk
