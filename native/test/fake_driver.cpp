#include "fake_driver.hpp"

#include <gtest/gtest.h>
#include <liburing.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>

#include "queue.hpp"

namespace ublk {

static std::atomic<FakeDriver*> active_driver = nullptr;

FakeDriver* FakeDriver::active() {
  return active_driver;
}

FakeDriver::FakeDriver() : char_device_(::memfd_create("fake-ublkc", MFD_CLOEXEC)) {
  const uint64_t size_bytes = descriptor_offset_bytes(abi::max_nr_queues - 1) + (1 << 20);
  EXPECT_EQ(::ftruncate(char_device_.get(), static_cast<off_t>(size_bytes)), 0);
  EXPECT_EQ(ring_.create({.entries = 8, .completion_entries = 64}), 0);
  active_driver = this;
}

FakeDriver::~FakeDriver() {
  active_driver = nullptr;
}

std::optional<FakeDriver::Command> FakeDriver::take_command() {
  std::unique_lock lock(mutex_);
  const auto some = [this] { return taken_ < commands_.size(); };
  if (!submitted_.wait_for(lock, std::chrono::seconds(deadline_seconds), some)) {
    ADD_FAILURE() << "no command came from the queue";
    return std::nullopt;
  }
  return commands_[taken_++];
}

std::vector<FakeDriver::Command> FakeDriver::take_commands(size_t count) {
  std::vector<Command> taken;
  for (std::optional<Command> command; taken.size() < count && (command = take_command());) {
    taken.push_back(*command);
  }
  return taken;
}

size_t FakeDriver::waiting_commands() const {
  const std::lock_guard lock(mutex_);
  return commands_.size() - taken_;
}

uint64_t FakeDriver::submissions() const {
  const std::lock_guard lock(mutex_);
  return submissions_;
}

void FakeDriver::deliver(uint16_t queue_id, uint16_t tag, const abi::IoDesc& request) {
  const uint64_t place = descriptor_offset_bytes(queue_id) + tag * sizeof(request);
  EXPECT_EQ(::pwrite(char_device_.get(), &request, sizeof(request), static_cast<off_t>(place)),
            static_cast<ssize_t>(sizeof(request)));
  post(tag, abi::io_res_ok);
}

void FakeDriver::post(uint16_t tag, int32_t result) {
  io_uring_sqe* sqe = ring_.next_sqe();
  {
    const std::lock_guard lock(mutex_);
    io_uring_prep_msg_ring(sqe, queue_ring_fd_, static_cast<unsigned>(result), tag, 0);
  }
  EXPECT_GE(ring_.submit_and_wait_for(deadline_seconds * 1000), 0);
  for (const Completion& completion : ring_.take_completions()) EXPECT_EQ(completion.result, 0);
}

// A ublk command becomes a NOP that leaves no completion.
void FakeDriver::intercept(io_uring* ring) {
  const std::lock_guard lock(mutex_);
  bool ours = ring->ring_fd == queue_ring_fd_;
  for (unsigned i = ring->sq.sqe_head; i != ring->sq.sqe_tail; i++) {
    io_uring_sqe& sqe = ring->sq.sqes[i & ring->sq.ring_mask];
    if (sqe.opcode != IORING_OP_URING_CMD) continue;
    Command command = {.operation = sqe.cmd_op, .io = {}};
    std::memcpy(&command.io, reinterpret_cast<const std::byte*>(&sqe) + offsetof(io_uring_sqe, addr3),
                sizeof(command.io));
    EXPECT_EQ(sqe.user_data, command.io.tag);
    EXPECT_NE(sqe.flags & IOSQE_FIXED_FILE, 0);
    commands_.push_back(command);
    std::memset(&sqe, 0, sizeof(sqe));
    sqe.opcode = IORING_OP_NOP;
    sqe.flags = IOSQE_CQE_SKIP_SUCCESS;
    queue_ring_fd_ = ring->ring_fd;
    ours = true;
  }
  if (ours) submissions_++;
  submitted_.notify_all();
}

// What was written before a request was posted is visible to the queue that received it: the kernel sees to
// that, and this tells ThreadSanitizer.
void FakeDriver::order_after_wait() {
  const std::lock_guard lock(mutex_);
}

extern "C" int __real_io_uring_submit(io_uring* ring);
extern "C" int __wrap_io_uring_submit(io_uring* ring) {
  if (FakeDriver* driver = FakeDriver::active()) driver->intercept(ring);
  return __real_io_uring_submit(ring);
}

extern "C" int __real_io_uring_submit_and_wait(io_uring* ring, unsigned count);
extern "C" int __wrap_io_uring_submit_and_wait(io_uring* ring, unsigned count) {
  if (FakeDriver* driver = FakeDriver::active()) driver->intercept(ring);
  const int result = __real_io_uring_submit_and_wait(ring, count);
  if (FakeDriver* driver = FakeDriver::active()) driver->order_after_wait();
  return result;
}

}  // namespace ublk
