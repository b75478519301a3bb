#include "batch.hpp"

#include <liburing.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "mark.hpp"

namespace ublk {

namespace {

// As many as the kernel delivers at once.
constexpr uint16_t tags_per_delivery = 128;
// A power of two. When all are full, the delivery ends and is asked for again: no request is lost.
constexpr uint16_t delivery_count = 16;
constexpr uint16_t delivery_group = 0;
// liburing's header may be older than this flag.
constexpr uint32_t uring_cmd_multishot = 1U << 1;

bool has_buffer_addresses(DataMode mode) {
  return mode == DataMode::copy || mode == DataMode::get_data;
}

uint16_t flags_for(DataMode mode) {
  if (mode == DataMode::auto_zero_copy) return abi::batch_f_auto_buf_reg_fallback;
  return has_buffer_addresses(mode) ? abi::batch_f_has_buf_addr : 0;
}

io_uring_buf_ring* to_buffer_ring(const Mapping& memory) {
  return reinterpret_cast<io_uring_buf_ring*>(memory.data());
}

}  // namespace

Batch::Batch(Ring& ring, uint16_t queue_id, uint16_t depth, DataMode mode)
    : ring_(ring),
      queue_id_(queue_id),
      depth_(depth),
      flags_(flags_for(mode)),
      element_bytes_(sizeof(abi::ElemHeader) + (has_buffer_addresses(mode) ? sizeof(uint64_t) : 0)),
      delivered_(size_t{delivery_count} * tags_per_delivery) {}

int Batch::prepare() {
  const int mapped = delivery_ring_.map(delivery_count * sizeof(io_uring_buf), PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped < 0) return mapped;
  io_uring_buf_ring_init(to_buffer_ring(delivery_ring_));
  for (uint16_t i = 0; i < delivery_count; i++) {
    io_uring_buf_ring_add(to_buffer_ring(delivery_ring_), delivery_buffer(i),
                          tags_per_delivery * sizeof(uint16_t), i, io_uring_buf_ring_mask(delivery_count), i);
  }
  io_uring_buf_ring_advance(to_buffer_ring(delivery_ring_), delivery_count);
  return ring_.register_buffer_ring(to_buffer_ring(delivery_ring_), delivery_count, delivery_group);
}

bool Batch::hand_over(std::span<const Tag> tags) {
  Answers& answers = open_answers();
  for (const Tag& tag : tags) append(answers, tag, 0);
  return queue_answers(abi::io_prep_io_cmds, open_);
}

bool Batch::deliver() {
  io_uring_sqe* sqe = ring_.next_sqe();
  if (sqe == nullptr) return false;
  sqe->opcode = IORING_OP_URING_CMD;
  sqe->fd = char_slot;
  sqe->flags = IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
  sqe->buf_group = delivery_group;
  sqe->cmd_op = abi::io_fetch_io_cmds;
  sqe->rw_flags = uring_cmd_multishot;
  sqe->user_data = to_user_data(Mark::batch_deliver);
  abi::BatchIo command = {};
  command.q_id = queue_id_;
  command.nr_elem = tags_per_delivery;
  command.elem_bytes = sizeof(uint16_t);
  std::memcpy(reinterpret_cast<std::byte*>(sqe) + offsetof(io_uring_sqe, addr3), &command, sizeof(command));
  return true;
}

bool Batch::flush() {
  if (answers_.empty() || answers_[open_].length_bytes == 0 || answers_[open_].in_flight) return true;
  return queue_answers(abi::io_commit_io_cmds, open_);
}

void Batch::commit(const Tag& tag, int32_t result) {
  append(open_answers(), tag, result);
}

bool Batch::committed(const Completion& completion) {
  const uint16_t number = tag_of(completion.user_data);
  Answers& answers = answers_[number];
  if (completion.result <= 0) return false;
  answers.sent_bytes += static_cast<uint32_t>(completion.result);
  if (answers.sent_bytes < answers.length_bytes) return queue_answers(abi::io_commit_io_cmds, number);
  answers.length_bytes = 0;
  answers.sent_bytes = 0;
  answers.in_flight = false;
  return true;
}

// Those being filled; others when the kernel has them. Each holds one answer for every tag, and a tag has one
// at a time.
Batch::Answers& Batch::open_answers() {
  if (!answers_.empty() && !answers_[open_].in_flight) return answers_[open_];
  const auto free =
      std::find_if(answers_.begin(), answers_.end(), [](const Answers& one) { return !one.in_flight; });
  open_ = static_cast<uint16_t>(free - answers_.begin());
  if (free == answers_.end())
    answers_.push_back({.bytes = std::vector<std::byte>(size_t{depth_} * element_bytes_)});
  return answers_[open_];
}

void Batch::append(Answers& answers, const Tag& tag, int32_t result) const {
  const uint16_t number = tag.request.tag;
  const abi::ElemHeader header = {.tag = number, .buf_index = number, .result = result};
  std::byte* place = answers.bytes.data() + answers.length_bytes;
  std::memcpy(place, &header, sizeof(header));
  const auto address = reinterpret_cast<uint64_t>(tag.request.buffer);
  if ((flags_ & abi::batch_f_has_buf_addr) != 0)
    std::memcpy(place + sizeof(header), &address, sizeof(address));
  answers.length_bytes += element_bytes_;
}

bool Batch::queue_answers(uint32_t operation, uint16_t number) {
  io_uring_sqe* sqe = ring_.next_sqe();
  if (sqe == nullptr) return false;
  Answers& answers = answers_[number];
  answers.in_flight = true;
  const uint32_t length_bytes = answers.length_bytes - answers.sent_bytes;
  sqe->opcode = IORING_OP_URING_CMD;
  sqe->fd = char_slot;
  sqe->flags = IOSQE_FIXED_FILE;
  sqe->cmd_op = operation;
  sqe->addr = reinterpret_cast<uint64_t>(answers.bytes.data() + answers.sent_bytes);
  sqe->len = length_bytes;
  const Mark mark = operation == abi::io_prep_io_cmds ? Mark::batch_prepare : Mark::batch_commit;
  sqe->user_data = to_user_data(mark, number);
  abi::BatchIo command = {};
  command.q_id = queue_id_;
  command.flags = flags_;
  command.nr_elem = static_cast<uint16_t>(length_bytes / element_bytes_);
  command.elem_bytes = element_bytes_;
  std::memcpy(reinterpret_cast<std::byte*>(sqe) + offsetof(io_uring_sqe, addr3), &command, sizeof(command));
  return true;
}

void Batch::handed_over(const Completion& completion) {
  Answers& answers = answers_[tag_of(completion.user_data)];
  answers.length_bytes = 0;
  answers.in_flight = false;
}

std::span<const uint16_t> Batch::tags_of(const Completion& completion) const {
  if (completion.result <= 0 || (completion.flags & IORING_CQE_F_BUFFER) == 0) return {};
  return {delivery_buffer(static_cast<uint16_t>(completion.flags >> IORING_CQE_BUFFER_SHIFT)),
          static_cast<size_t>(completion.result) / sizeof(uint16_t)};
}

void Batch::put_back(const Completion& completion) {
  if ((completion.flags & IORING_CQE_F_BUFFER) == 0) return;
  const auto number = static_cast<uint16_t>(completion.flags >> IORING_CQE_BUFFER_SHIFT);
  io_uring_buf_ring_add(to_buffer_ring(delivery_ring_), delivery_buffer(number),
                        tags_per_delivery * sizeof(uint16_t), number, io_uring_buf_ring_mask(delivery_count),
                        0);
  io_uring_buf_ring_advance(to_buffer_ring(delivery_ring_), 1);
}

uint16_t* Batch::delivery_buffer(uint16_t number) const {
  return const_cast<uint16_t*>(delivered_.data()) + size_t{number} * tags_per_delivery;
}

}  // namespace ublk
