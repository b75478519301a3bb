#pragma once

#include <cstdint>

#include "ring.hpp"
#include "unique_fd.hpp"

namespace ublk {

// How other threads get the attention of a queue's thread, which sleeps in its ring. What they want they
// write down elsewhere first; the bell says only that there is something to look at, and rings that follow
// each other closely may be heard as one.
class Bell {
 public:
  Bell();
  bool valid() const { return event_.valid(); }

  // Any thread.
  void ring();
  // The queue's thread: asks for a completion marked Mark::bell at the next ring. Again after each of them.
  // False: the ring is broken.
  bool watch(Ring& ring);

 private:
  UniqueFd event_;
  uint64_t value_ = 0;
};

}  // namespace ublk
