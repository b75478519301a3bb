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

static constexpr uint32_t deadline_ms = 20'000;
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
  if (!submitted_.wait_for(lock, std::chrono::milliseconds(deadline_ms), some)) {
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

size_t FakeDriver::armed_tags() const {
  const std::lock_guard lock(mutex_);
  return armed_.size();
}

void FakeDriver::deliver(uint16_t queue_id, uint16_t tag, const abi::IoDesc& request) {
  const uint64_t place = descriptor_offset_bytes(queue_id) + tag * sizeof(request);
  EXPECT_EQ(::pwrite(char_device_.get(), &request, sizeof(request), static_cast<off_t>(place)),
            static_cast<ssize_t>(sizeof(request)));
  post(queue_id, tag, abi::io_res_ok);
}

void FakeDriver::post(uint16_t queue_id, uint16_t tag, int32_t result) {
  const std::lock_guard lock(mutex_);
  EXPECT_EQ(armed_.erase({queue_id, tag}), 1u) << "tag " << tag << " is not the driver's to answer";
  post_locked(queue_id, tag, result);
}

void FakeDriver::post_locked(uint16_t queue_id, uint64_t user_data, int32_t result) {
  io_uring_prep_msg_ring(ring_.next_sqe(), ring_of_queue_[queue_id], static_cast<unsigned>(result), user_data,
                         0);
  EXPECT_GE(ring_.submit_and_wait_for(deadline_ms), 0);
  for (const Completion& completion : ring_.take_completions()) EXPECT_EQ(completion.result, 0);
}

void FakeDriver::stop() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  for (const auto& [queue_id, tag] : std::exchange(armed_, {})) post_locked(queue_id, tag, abi::io_res_abort);
}

void FakeDriver::forget_tags() {
  const std::lock_guard lock(mutex_);
  armed_.clear();
  stopping_ = false;
}

void FakeDriver::intercept(io_uring* ring) {
  const std::lock_guard lock(mutex_);
  for (unsigned i = ring->sq.sqe_head; i != ring->sq.sqe_tail; i++) {
    io_uring_sqe& sqe = ring->sq.sqes[i & ring->sq.ring_mask];
    if (sqe.opcode == IORING_OP_URING_CMD) take_over(ring, sqe);
  }
  submissions_++;
  submitted_.notify_all();
}

// A ublk command becomes a NOP that leaves no completion.
void FakeDriver::take_over(io_uring* ring, io_uring_sqe& sqe) {
  Command command = {.operation = sqe.cmd_op, .io = {}, .sqe_addr = sqe.addr};
  std::memcpy(&command.io, reinterpret_cast<const std::byte*>(&sqe) + offsetof(io_uring_sqe, addr3),
              sizeof(command.io));
  const uint64_t user_data = sqe.user_data;
  EXPECT_NE(sqe.flags & IOSQE_FIXED_FILE, 0);
  std::memset(&sqe, 0, sizeof(sqe));
  sqe.opcode = IORING_OP_NOP;
  sqe.flags = IOSQE_CQE_SKIP_SUCCESS;
  commands_.push_back(command);
  ring_of_queue_[command.io.q_id] = ring->ring_fd;
  if (command.operation == abi::io_unregister_io_buf) return;
  if (command.operation == abi::io_register_io_buf) {
    post_locked(command.io.q_id, user_data, next_registration());
    return;
  }
  EXPECT_EQ(user_data, command.io.tag);
  arm(command);
}

void FakeDriver::arm(const Command& command) {
  if (stopping_) {
    post_locked(command.io.q_id, command.io.tag, abi::io_res_abort);
  } else {
    EXPECT_TRUE(armed_.insert({command.io.q_id, command.io.tag}).second) << "armed twice";
  }
}

void FakeDriver::refuse_registration(int32_t result) {
  const std::lock_guard lock(mutex_);
  registrations_.push_back(result);
}

int32_t FakeDriver::next_registration() {
  if (registrations_.empty()) return 0;
  const int32_t result = registrations_.front();
  registrations_.pop_front();
  return result;
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
