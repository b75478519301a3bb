#pragma once

namespace ublk {

// Held while a command brings a device up: some kernels lose such commands when they are issued in parallel.
// A turn that takes long does not hold the others up for long; by then the kernel has the command, or has
// lost it.
class BringUpTurn {
 public:
  BringUpTurn();
  BringUpTurn(const BringUpTurn&) = delete;
  BringUpTurn& operator=(const BringUpTurn&) = delete;
  ~BringUpTurn();

 private:
  unsigned long number_ = 0;
};

}  // namespace ublk
