#pragma once

#include <cstdint>
#include <mutex>

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

  // Any thread, also when the queue has ended.
  void ring();
  // Gives the descriptor back; rings are not heard any more. The queue may stay for its counters long after.
  void close();
  // The queue's thread: asks for a completion marked Mark::bell at the next ring. Again after each of them.
  // False: the ring is broken.
  bool watch(Ring& ring);

 private:
  // Nobody may write to a number that is another file's by now. Requests of native targets never ring.
  std::mutex mutex_;
  UniqueFd event_;
  uint64_t value_ = 0;
};

}  // namespace ublk
