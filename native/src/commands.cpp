#include "commands.hpp"

#include <cstring>

#include "abi.hpp"
#include "mark.hpp"

namespace ublk {

int Commands::use_batches(uint16_t depth) {
  batch_ = std::make_unique<Batch>(ring_, queue_id_, depth, mode_);
  return batch_->prepare();
}

bool Commands::fetch_all(std::span<Tag> tags) {
  for (Tag& tag : tags) {
    if (batch_ != nullptr) {
      arm(tag);
    } else if (!queue_command(tag, abi::io_fetch_req, 0)) {
      return false;
    }
  }
  return batch_ == nullptr || batch_->hand_over(tags);
}

void Commands::arm(Tag& tag) {
  tag.move(TagState::armed);
  armed_count_++;
}

bool Commands::get_data(Tag& tag) {
  return queue_command(tag, abi::io_need_get_data, 0);
}

bool Commands::commit(Tag& tag, int32_t result) {
  if (batch_ == nullptr) return queue_command(tag, abi::io_commit_and_fetch_req, result);
  batch_->commit(tag, result);
  arm(tag);
  if (ended_) {
    came_back();
    tag.move(TagState::retired);
  }
  return true;
}

bool Commands::queue_command(Tag& tag, uint32_t operation, int32_t result) {
  io_uring_sqe* sqe = ring_.next_sqe();
  if (sqe == nullptr) return false;
  arm(tag);
  sqe->opcode = IORING_OP_URING_CMD;
  sqe->fd = char_slot;
  sqe->flags = IOSQE_FIXED_FILE;
  sqe->cmd_op = operation;
  sqe->user_data = to_user_data(Mark::command, tag.request.tag);
  abi::IoCmd command = {};
  command.q_id = queue_id_;
  command.tag = tag.request.tag;
  command.result = result;
  switch (mode_) {
    case DataMode::copy:
    case DataMode::get_data:
      command.addr = reinterpret_cast<uint64_t>(tag.request.buffer);
      break;
    case DataMode::auto_zero_copy:
      sqe->addr =
          abi::auto_buf_reg_to_sqe_addr({.index = tag.request.tag, .flags = abi::auto_buf_reg_fallback});
      break;
    case DataMode::user_copy:
    case DataMode::zero_copy:
      break;
  }
  std::memcpy(reinterpret_cast<std::byte*>(sqe) + offsetof(io_uring_sqe, addr3), &command, sizeof(command));
  return true;
}

}  // namespace ublk
