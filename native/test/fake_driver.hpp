#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "abi.hpp"
#include "ring.hpp"
#include "unique_fd.hpp"

struct io_uring;

namespace ublk {

// The data side of ublk_drv without the kernel module: a file that holds the descriptors, as /dev/ublkcN
// does, and an end for the ublk commands of one queue. The linker routes liburing's submissions through here,
// where every ublk command is taken out of the ring; what the driver would answer is posted into the same
// ring by IORING_OP_MSG_RING. Everything else (target I/O, waiting, the queue's thread) is real. One at a
// time.
class FakeDriver {
 public:
  struct Command {
    uint32_t operation;
    abi::IoCmd io;
  };

  FakeDriver();
  FakeDriver(const FakeDriver&) = delete;
  FakeDriver& operator=(const FakeDriver&) = delete;
  ~FakeDriver();

  int char_fd() const { return char_device_.get(); }

  // The next command that a queue submitted, or none when the deadline passes.
  std::optional<Command> take_command();
  std::vector<Command> take_commands(size_t count);
  // Commands submitted and not taken.
  size_t waiting_commands() const;
  // How often a queue has entered the ring.
  uint64_t submissions() const;

  // What the kernel does with a fetched tag: describe a request, then complete the command.
  void deliver(uint16_t queue_id, uint16_t tag, const abi::IoDesc& request);
  void abort(uint16_t tag) { post(tag, abi::io_res_abort); }
  void post(uint16_t tag, int32_t result);

  // For the linker's wrappers only.
  static FakeDriver* active();
  void intercept(io_uring* ring);
  void order_after_wait();

 private:
  static constexpr int deadline_seconds = 20;

  UniqueFd char_device_;
  Ring ring_;
  mutable std::mutex mutex_;
  std::condition_variable submitted_;
  std::vector<Command> commands_;
  size_t taken_ = 0;
  uint64_t submissions_ = 0;
  int queue_ring_fd_ = -1;
};

}  // namespace ublk
