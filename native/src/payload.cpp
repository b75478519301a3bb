#include "payload.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <numeric>

#include "abi.hpp"
#include "bus_guard.hpp"
#include "mark.hpp"
#include "target.hpp"

namespace ublk {

namespace {

// Long enough for memory to come free, short beside the time limits of those who wait.
const __kernel_timespec retry_pause = {.tv_sec = 0, .tv_nsec = 10'000'000};

bool has_payload(const Request& request) {
  return request.operation == abi::op_read || request.operation == abi::op_write;
}

// Repeats what a signal cut short. Bytes, or a negative errno when not one was moved.
template <typename Move>
int64_t move_all(uint64_t length_bytes, Move move) {
  uint64_t done_bytes = 0;
  while (done_bytes < length_bytes) {
    const ssize_t moved = move(done_bytes);
    if (moved < 0 && errno == EINTR) continue;
    if (moved <= 0) return done_bytes > 0 || moved == 0 ? static_cast<int64_t>(done_bytes) : -errno;
    done_bytes += static_cast<uint64_t>(moved);
  }
  return static_cast<int64_t>(done_bytes);
}

}  // namespace

Payload::Payload(Ring& ring, const PayloadSpec& spec) : ring_(ring), spec_(spec) {}

bool Payload::target_copies() const {
  const Target& target = *spec_.target;
  const TargetOps& ops = target.inner == nullptr ? *target.ops : *target.inner;
  return spec_.mode == DataMode::user_copy && ops.copies_payload;
}

int Payload::prepare(Tag* tags) {
  if (has_pages_in_ring(spec_.mode)) return ring_.register_empty_buffers(spec_.depth);
  if (target_copies()) return 0;
  const int allocated = buffers_.allocate(ring_, spec_.depth, spec_.max_io_bytes, spec_.target->direct);
  if (allocated < 0) return allocated;
  if (spec_.mode == DataMode::user_copy) {
    free_buffers_.resize(spec_.depth);
    std::iota(free_buffers_.rbegin(), free_buffers_.rend(), uint16_t{0});
    return 0;
  }
  for (uint16_t i = 0; i < spec_.depth; i++) tags[i].request.buffer = buffers_.at(i);
  return 0;
}

int64_t Payload::bring(Request& request) {
  request.in_ring_by_us = false;
  if (!has_payload(request)) return 0;
  // Never so while the driver keeps to the parameters it accepted; memory behind a buffer is not staked on
  // it.
  if (request.length_bytes > spec_.max_io_bytes) return -EINVAL;
  switch (spec_.mode) {
    case DataMode::copy:
    case DataMode::get_data:
      request.buffer_index = buffers_.index_of(ring_, request.tag);
      return 0;
    case DataMode::user_copy:
      return target_copies() ? 0 : bring_copied(request);
    case DataMode::zero_copy:
      return queue_register(request);
    case DataMode::auto_zero_copy:
      request.buffer_index = request.tag;
      return (request.flags & abi::io_f_need_reg_buf) != 0 ? queue_register(request) : 0;
  }
  return -EINVAL;
}

// The buffer used last is taken first, so that no more of them are ever touched than requests were in flight.
int64_t Payload::bring_copied(Request& request) {
  request.buffer_number = free_buffers_.back();
  free_buffers_.pop_back();
  request.buffer = buffers_.at(request.buffer_number);
  request.buffer_index = buffers_.index_of(ring_, request.buffer_number);
  // Whatever passed through it before.
  request.dirty_bytes = static_cast<uint32_t>(request.length_bytes);
  if (request.operation != abi::op_write) return 0;
  const int copied = copy_to(request, request.buffer);
  if (copied < 0) give_back_buffer(request);
  return copied;
}

int64_t Payload::brought(Request& request, int32_t result) {
  // The pause before another attempt is over.
  if (result == -ETIME) return queue_register(request);
  if (result == -ENOMEM || result == -EAGAIN) return queue_retry(request);
  if (result < 0) return result;
  request.in_ring_by_us = true;
  return 0;
}

int64_t Payload::hand_over(Request& request, int64_t result) {
  if (request.in_ring_by_us) {
    request.in_ring_by_us = false;
    return queue_unregister(request) ? result : -EIO;
  }
  if (request.buffer == nullptr || spec_.mode != DataMode::user_copy || !has_payload(request)) return result;
  if (request.operation == abi::op_read && result > 0) {
    const int copied = copy_from(request, request.buffer);
    if (copied < 0) result = copied;
  }
  give_back_buffer(request);
  return result;
}

void Payload::give_back_buffer(Request& request) {
  free_buffers_.push_back(request.buffer_number);
  request.buffer = nullptr;
}

int Payload::copy_to(const Request& request, std::byte* place) const {
  if (spec_.mode != DataMode::user_copy) return guarded_copy(place, request.buffer, request.length_bytes);
  const int64_t moved = move_all(request.length_bytes, [&](uint64_t done_bytes) {
    return ::pread(spec_.char_fd, place + done_bytes, request.length_bytes - done_bytes,
                   static_cast<off_t>(position_of(request) + done_bytes));
  });
  if (moved == static_cast<int64_t>(request.length_bytes)) return 0;
  return moved >= 0 || moved == -EFAULT ? -ENOSPC : static_cast<int>(moved);
}

int Payload::copy_from(const Request& request, const std::byte* place) const {
  if (spec_.mode != DataMode::user_copy) return guarded_copy(request.buffer, place, request.length_bytes);
  const int64_t moved = move_all(request.length_bytes, [&](uint64_t done_bytes) {
    return ::pwrite(spec_.char_fd, place + done_bytes, request.length_bytes - done_bytes,
                    static_cast<off_t>(position_of(request) + done_bytes));
  });
  if (moved == static_cast<int64_t>(request.length_bytes)) return 0;
  return moved >= 0 || moved == -EFAULT ? -ENOSPC : static_cast<int>(moved);
}

uint64_t Payload::position_of(const Request& request) const {
  return abi::io_buf_offset + (uint64_t{spec_.queue_id} << abi::qid_off) +
         (uint64_t{request.tag} << abi::tag_off);
}

int64_t Payload::queue_register(Request& request) {
  request.buffer_index = request.tag;
  io_uring_sqe* sqe = next_command(abi::io_register_io_buf, request);
  if (sqe == nullptr) return -EIO;
  sqe->user_data = to_user_data(Mark::payload, request.tag);
  return answer_later;
}

// Ahead of the commit in the same ring, as the driver wants it. Only a failure is told, and that would mean
// that our books are wrong.
bool Payload::queue_unregister(const Request& request) {
  io_uring_sqe* sqe = next_command(abi::io_unregister_io_buf, request);
  if (sqe == nullptr) return false;
  sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
  sqe->user_data = to_user_data(Mark::release, request.tag);
  return true;
}

int64_t Payload::queue_retry(const Request& request) {
  io_uring_sqe* sqe = ring_.next_sqe();
  if (sqe == nullptr) return -EIO;
  // liburing's declaration lacks the const; the kernel only reads it.
  io_uring_prep_timeout(sqe, const_cast<__kernel_timespec*>(&retry_pause), 0, 0);
  sqe->user_data = to_user_data(Mark::payload, request.tag);
  return answer_later;
}

io_uring_sqe* Payload::next_command(uint32_t operation, const Request& request) {
  io_uring_sqe* sqe = ring_.next_sqe();
  if (sqe == nullptr) return nullptr;
  sqe->opcode = IORING_OP_URING_CMD;
  sqe->fd = char_slot;
  sqe->flags = IOSQE_FIXED_FILE;
  sqe->cmd_op = operation;
  abi::IoCmd command = {};
  command.q_id = spec_.queue_id;
  command.tag = request.tag;
  command.addr = request.tag;  // the index in the ring's table
  std::memcpy(reinterpret_cast<std::byte*>(sqe) + offsetof(io_uring_sqe, addr3), &command, sizeof(command));
  return sqe;
}

}  // namespace ublk
