#include "ring.hpp"

#include <cerrno>
#include <cstring>

namespace ublk {

int Ring::create(const RingOptions& options) {
  const uint32_t base = IORING_SETUP_CQSIZE | (options.sqe128 ? IORING_SETUP_SQE128 : 0U);
  // From best to plain: deferred task work needs 6.1, cooperative 5.19. Only -EINVAL means "flag unknown".
  const uint32_t deferred = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
  const std::array<uint32_t, 3> candidates = {base | IORING_SETUP_COOP_TASKRUN | deferred,
                                              base | IORING_SETUP_COOP_TASKRUN, base};
  int result = -EINVAL;
  for (size_t i = options.single_issuer ? 0 : 2; i < candidates.size() && result == -EINVAL; i++) {
    result = try_create(options, candidates[i]);
  }
  return result;
}

int Ring::try_create(const RingOptions& options, uint32_t flags) {
  io_uring_params params = {};
  params.flags = flags;
  params.cq_entries = options.completion_entries;
  int result = io_uring_queue_init_params(options.entries, &ring_, &params);
  if (result < 0) {
    ring_.ring_fd = -1;
    return result;
  }
  // A host program that forks, to run mkfs for instance, must not hand the rings to its children.
  io_uring_ring_dontfork(&ring_);
  // Saves a descriptor look-up per system call. The registration belongs to the calling thread, so it only
  // serves rings that one thread uses; without it (before 5.18) everything works the same.
  if (options.single_issuer) io_uring_register_ring_fd(&ring_);
  return 0;
}

void Ring::reset() {
  if (!valid()) return;
  io_uring_queue_exit(&ring_);
  ring_.ring_fd = -1;
}

int Ring::register_files(std::span<const int> fds) {
  return io_uring_register_files(&ring_, fds.data(), static_cast<unsigned>(fds.size()));
}

int Ring::register_empty_buffers(uint32_t count) {
  return io_uring_register_buffers_sparse(&ring_, count);
}

int Ring::register_buffer(uint32_t index, std::span<std::byte> memory) {
  const iovec range = {.iov_base = memory.data(), .iov_len = memory.size()};
  const __u64 no_tag = 0;
  const int registered = io_uring_register_buffers_update_tag(&ring_, index, &range, &no_tag, 1);
  return registered < 0 ? registered : 0;
}

int Ring::register_buffer_ring(io_uring_buf_ring* buffers, uint32_t count, uint16_t group) {
  io_uring_buf_reg registration = {};
  registration.ring_addr = reinterpret_cast<uint64_t>(buffers);
  registration.ring_entries = count;
  registration.bgid = group;
  return io_uring_register_buf_ring(&ring_, &registration, 0);
}

void Ring::clear(io_uring_sqe* sqe) const {
  std::memset(sqe, 0, (ring_.flags & IORING_SETUP_SQE128) != 0 ? 2 * sizeof(*sqe) : sizeof(*sqe));
}

io_uring_sqe* Ring::next_sqe() {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  if (sqe == nullptr) {
    if (io_uring_submit(&ring_) < 0) return nullptr;
    sqe = io_uring_get_sqe(&ring_);
  }
  if (sqe != nullptr) clear(sqe);
  return sqe;
}

int Ring::submit_and_wait(uint32_t count) {
  return io_uring_submit_and_wait(&ring_, count);
}

int Ring::submit_and_wait_for_ns(uint64_t timeout_ns) {
  constexpr uint64_t second_ns = 1'000'000'000;
  __kernel_timespec timeout = {.tv_sec = static_cast<int64_t>(timeout_ns / second_ns),
                               .tv_nsec = static_cast<int64_t>(timeout_ns % second_ns)};
  io_uring_cqe* cqe = nullptr;
  return io_uring_submit_and_wait_timeout(&ring_, &cqe, 1, &timeout, nullptr);
}

std::span<const Completion> Ring::take_completions() {
  uint32_t head = 0;
  uint32_t count = 0;
  io_uring_cqe* cqe = nullptr;
  io_uring_for_each_cqe(&ring_, head, cqe) {
    if (count == batch_size) break;
    batch_[count++] = {.user_data = cqe->user_data, .result = cqe->res, .flags = cqe->flags};
  }
  io_uring_cq_advance(&ring_, count);
  return {batch_.data(), count};
}

}  // namespace ublk
