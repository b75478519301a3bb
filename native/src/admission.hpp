#pragma once

#include <cstdint>

#include "tag.hpp"

namespace ublk {

// Whether a request may go to the target now. A queue asks it in the order of arrival, on its own thread;
// what it answers may depend on state that other threads change, who then wake the queue.
class Admission {
 public:
  static constexpr uint64_t until_woken = UINT64_MAX;

  virtual ~Admission() = default;
  // 0: now, and the request counts as admitted. Otherwise after how many nanoseconds to ask again; a request
  // behind it waits as well.
  virtual uint64_t wait_ns(const Request& request) = 0;
};

}  // namespace ublk
