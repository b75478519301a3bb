#include "target_rig.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>
#include <cstring>
#include <random>

namespace ublk {

TargetRig::TargetRig(const TargetSpec& spec) : payload_(ring_, {}), queue_(ring_, 0, payload_) {
  target_.ops = &target_ops(spec.kind);
  open_result_ = target_.ops->open(spec, target_, step_);
  if (open_result_ < 0) return;
  EXPECT_EQ(buffer_.map(buffer_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 0);
  EXPECT_EQ(ring_.create({.entries = 8, .completion_entries = 16, .single_issuer = true}), 0);
  const std::array<int, 1> files = {target_.file.valid() ? target_.file.get() : 0};
  EXPECT_EQ(ring_.register_files(files), 0);
  if (target_.ops->open_queue != nullptr) {
    EXPECT_EQ(target_.ops->open_queue(target_, queue_, {.queue_id = 0, .depth = 8, .buffers = nullptr}), 0);
  }
  request_.buffer = buffer_.data();
  request_.tag = 7;
}

int64_t TargetRig::run(uint8_t operation, uint64_t offset_bytes, uint64_t length_bytes, uint32_t flags) {
  request_.operation = operation;
  request_.offset_bytes = offset_bytes;
  request_.length_bytes = length_bytes;
  request_.done_bytes = 0;
  request_.way = 0;
  request_.flags = flags;
  const int64_t result = target_.ops->queue_io(target_, queue_, request_);
  return result == answer_later ? wait_for_answer() : result;
}

int64_t TargetRig::wait_for_answer() {
  while (true) {
    if (ring_.submit_and_wait_for(deadline_ms) == -ETIME) {
      ADD_FAILURE() << "the target's I/O did not complete";
      return -ETIME;
    }
    for (const Completion& completion : ring_.take_completions()) {
      EXPECT_EQ(completion.user_data, to_user_data(Mark::target_io, request_.tag));
      const int64_t result = target_.ops->complete_io(target_, queue_, request_, completion.result);
      if (result != answer_later) return result;
    }
  }
}

int64_t TargetRig::write(uint64_t offset_bytes, const std::string& bytes, uint32_t flags) {
  std::memcpy(buffer_.data(), bytes.data(), bytes.size());
  return run(abi::op_write, offset_bytes, bytes.size(), flags);
}

std::string TargetRig::read(uint64_t offset_bytes, uint64_t length_bytes) {
  EXPECT_EQ(read_result(offset_bytes, length_bytes), static_cast<int64_t>(length_bytes));
  return buffer(length_bytes);
}

int64_t TargetRig::read_result(uint64_t offset_bytes, uint64_t length_bytes) {
  std::memset(buffer_.data(), 0xee, length_bytes);
  return run(abi::op_read, offset_bytes, length_bytes);
}

io_uring_sqe TargetRig::entry(uint8_t operation, uint32_t flags) {
  request_.operation = operation;
  request_.length_bytes = 4096;
  request_.flags = flags;
  EXPECT_EQ(target_.ops->queue_io(target_, queue_, request_), answer_later);
  return *(ring_.next_sqe() - 1);
}

std::string TargetRig::buffer(uint64_t length_bytes) const {
  return {reinterpret_cast<const char*>(buffer_.data()), length_bytes};
}

std::string pattern(uint64_t length_bytes, uint32_t seed) {
  std::mt19937 random(seed);
  std::string bytes(length_bytes, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

}  // namespace ublk
