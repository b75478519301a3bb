#include "queue_rig.hpp"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <utility>

namespace ublk {

QueueRig::QueueRig(const Target& target, uint16_t depth, uint16_t queue_id, std::vector<std::byte> cpu_mask)
    : queue_id_(queue_id) {
  QueueSpec spec = spec_of(target, depth);
  spec.cpu_mask = std::move(cpu_mask);
  start(std::move(spec));
}

QueueRig::QueueRig(const Target& target, uint16_t depth, const Reasons& reasons) {
  QueueSpec spec = spec_of(target, depth);
  spec.gate = reasons.gate;
  spec.limiter = reasons.limiter;
  spec.copies = reasons.copies;
  start(std::move(spec));
}

QueueRig::QueueRig(const Target& target, uint16_t depth, DataMode mode) {
  QueueSpec spec = spec_of(target, depth);
  spec.mode = mode;
  start(std::move(spec));
}

std::unique_ptr<QueueRig> QueueRig::stalling(const Target& target, uint16_t depth) {
  std::unique_ptr<QueueRig> rig(new QueueRig());
  QueueSpec spec = rig->spec_of(target, depth);
  spec.stalls_load = true;
  rig->start(std::move(spec));
  return rig;
}

QueueSpec QueueRig::spec_of(const Target& target, uint16_t depth) const {
  return {.device_id = 12,
          .queue_id = queue_id_,
          .depth = depth,
          .max_io_bytes = max_io_bytes,
          .char_fd = driver_.char_fd(),
          .target = &target,
          .cpu_mask = {}};
}

void QueueRig::start(QueueSpec spec) {
  const uint16_t depth = spec.depth;
  QueueEvents events;
  events.on_io_error = [this](const IoError& error) {
    const std::lock_guard lock(mutex_);
    errors_.push_back(error);
  };
  events.on_ended = [this] {
    const std::lock_guard lock(mutex_);
    end_count_++;
    ended_.notify_all();
  };
  queue_ = std::make_unique<Queue>(std::move(spec), std::move(events));
  const Status status = queue_->start();
  EXPECT_TRUE(status.ok()) << status.step << ": " << status.error;
  fetches_ = driver_.take_commands(depth);
}

void QueueRig::deliver(uint16_t tag, uint8_t operation, uint64_t sector, uint32_t sectors, uint32_t flags) {
  abi::IoDesc request;
  request.op_flags = operation | flags;
  request.nr_sectors = sectors;
  request.start_sector = sector;
  driver_.deliver(queue_id_, tag, request);
}

int32_t QueueRig::serve(uint16_t tag, uint8_t operation, uint64_t sector, uint32_t sectors, uint32_t flags) {
  deliver(tag, operation, sector, sectors, flags);
  return committed(tag);
}

FakeDriver::Command QueueRig::expect(uint32_t operation, uint16_t tag) {
  const FakeDriver::Command command = driver_.take_command().value_or(FakeDriver::Command{});
  EXPECT_EQ(command.operation, operation);
  EXPECT_EQ(command.io.q_id, queue_id_);
  EXPECT_EQ(command.io.tag, tag);
  return command;
}

int32_t QueueRig::committed(uint16_t tag) {
  const std::optional<FakeDriver::Command> command = driver_.take_command();
  if (!command) return INT32_MIN;
  EXPECT_EQ(command->operation, abi::io_commit_and_fetch_req);
  EXPECT_EQ(command->io.q_id, queue_id_);
  EXPECT_EQ(command->io.tag, tag);
  EXPECT_EQ(command->io.addr, fetches_[tag].io.addr);
  return command->io.result;
}

bool QueueRig::wait_for_end() {
  std::unique_lock lock(mutex_);
  return ended_.wait_for(lock, std::chrono::seconds(20), [this] { return end_count_ > 0; });
}

int QueueRig::ends() const {
  const std::lock_guard lock(mutex_);
  return end_count_;
}

std::vector<IoError> QueueRig::errors() const {
  const std::lock_guard lock(mutex_);
  return errors_;
}

static int64_t hold_io(const Target&, TargetQueue& queue, Request& request) {
  io_uring_sqe* sqe = queue.next_sqe();
  io_uring_prep_read(sqe, queue.file_slot(), request.buffer, sizeof(uint64_t), 0);
  TargetQueue::tie(sqe, request);
  return answer_later;
}

static int64_t complete_held_io(const Target&, TargetQueue&, Request& request, int32_t result) {
  return result < 0 ? result : static_cast<int64_t>(request.length_bytes);
}

static const TargetOps holding_ops = {
    .name = "holding", .open = nullptr, .queue_io = hold_io, .complete_io = complete_held_io};

HoldingTarget::HoldingTarget() {
  target_.ops = &holding_ops;
  target_.file = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE));
}

void HoldingTarget::let_go(uint64_t count) {
  EXPECT_EQ(::write(target_.file.get(), &count, sizeof(count)), static_cast<ssize_t>(sizeof(count)));
}

static Target opened(const TargetSpec& spec) {
  Target target;
  const char* step = "";
  target.ops = &target_ops(spec.kind);
  EXPECT_EQ(target.ops->open(spec, target, step), 0) << step;
  return target;
}

Target null_target_of(uint64_t size_bytes) {
  return opened({.kind = TargetKind::null, .path = "", .size_bytes = size_bytes});
}

Target file_target_on(const std::string& path, uint64_t size_bytes) {
  return opened({.kind = TargetKind::file, .path = path, .size_bytes = size_bytes, .discard = true});
}

}  // namespace ublk
