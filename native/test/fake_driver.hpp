#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "abi.hpp"
#include "ring.hpp"
#include "unique_fd.hpp"

struct io_uring;

namespace ublk {

// The data side of ublk_drv without the kernel module: a file that holds the descriptors, as /dev/ublkcN
// does, and an end for the ublk commands of a device's queues. The linker routes liburing's submissions
// through here, where every ublk command is taken out of the ring; what the driver would answer is posted
// into the same ring by IORING_OP_MSG_RING. Everything else (target I/O, waiting, threads) is real. One at a
// time.
class FakeDriver {
 public:
  struct Command {
    uint32_t operation;
    abi::IoCmd io;
    uint64_t sqe_addr;
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
  // How often queues have entered their rings.
  uint64_t submissions() const;
  // Tags that the driver holds.
  size_t armed_tags() const;

  // What the kernel does with a fetched tag: describe a request, then complete the command.
  void deliver(uint16_t queue_id, uint16_t tag, const abi::IoDesc& request);
  void post(uint16_t queue_id, uint16_t tag, int32_t result);
  void abort(uint16_t queue_id, uint16_t tag) { post(queue_id, tag, abi::io_res_abort); }
  // As STOP_DEV: aborts every tag, and those that still come.
  void stop();

  // How the next REGISTER_IO_BUF ends, which succeeds unless told otherwise.
  void refuse_registration(int32_t result);

  // As the last close of the char device by a server that goes: its tags may be fetched anew.
  void forget_tags();

  // For the linker's wrappers only.
  static FakeDriver* active();
  void intercept(io_uring* ring);
  void order_after_wait();

 private:
  void take_over(io_uring* ring, io_uring_sqe& sqe);
  void arm(const Command& command);
  int32_t next_registration();
  void post_locked(uint16_t queue_id, uint64_t user_data, int32_t result);

  UniqueFd char_device_;
  mutable std::mutex mutex_;
  Ring ring_;
  std::condition_variable submitted_;
  std::vector<Command> commands_;
  size_t taken_ = 0;
  uint64_t submissions_ = 0;
  bool stopping_ = false;
  std::map<uint16_t, int> ring_of_queue_;
  std::set<std::pair<uint16_t, uint16_t>> armed_;
  std::deque<int32_t> registrations_;
};

}  // namespace ublk
