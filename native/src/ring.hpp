#pragma once

#include <liburing.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace ublk {

struct RingOptions {
  uint32_t entries = 8;
  uint32_t completion_entries = 16;
  bool sqe128 = false;  // 128-byte submission entries, for ublk control commands
  // The creating thread is the only one that ever enters the ring: task work is deferred to its next wait.
  bool single_issuer = false;
};

struct Completion {
  uint64_t user_data;
  int32_t result;
  uint32_t flags;  // IORING_CQE_F_*
};

// RAII over one io_uring. Knows nothing about ublk. Every function returns 0 or a count, or a negative errno.
class Ring {
 public:
  Ring() = default;
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring() { reset(); }

  // Sets the ring up with the best flags this kernel takes; a flag it refuses is dropped.
  int create(const RingOptions& options);
  void reset();
  bool valid() const { return ring_.ring_fd >= 0; }
  uint32_t setup_flags() const { return ring_.flags; }

  // The descriptors become numbers 0..n-1 for entries with IOSQE_FIXED_FILE. They stay referenced until
  // reset().
  int register_files(std::span<const int> fds);

  // A table of `count` places for buffers that IORING_OP_READ_FIXED and WRITE_FIXED name by index.
  int register_empty_buffers(uint32_t count);
  // The memory becomes the buffer of this index: its pages are pinned once, not for every request. It stays
  // pinned until reset().
  int register_buffer(uint32_t index, std::span<std::byte> memory);

  // The kernel takes a buffer of this ring, in shared memory, for entries with IOSQE_BUFFER_SELECT.
  int register_buffer_ring(io_uring_buf_ring* buffers, uint32_t count, uint16_t group);

  // A zeroed entry. Submits what is queued when the ring is full; null only when the kernel refuses that.
  io_uring_sqe* next_sqe();

  // One system call: submits what is queued and waits for `count` completions.
  int submit_and_wait(uint32_t count);
  // As above for one completion, at most that long; -ETIME when none came.
  int submit_and_wait_for(uint32_t timeout_ms) { return submit_and_wait_for_ns(timeout_ms * 1'000'000ULL); }
  int submit_and_wait_for_ns(uint64_t timeout_ns);

  // Copies completions out and gives their slots back before the caller acts on them, so that acting may
  // queue more.
  std::span<const Completion> take_completions();

 private:
  static constexpr uint32_t batch_size = 128;
  int try_create(const RingOptions& options, uint32_t flags);
  void clear(io_uring_sqe* sqe) const;

  io_uring ring_ = {.sq = {},
                    .cq = {},
                    .flags = 0,
                    .ring_fd = -1,
                    .features = 0,
                    .enter_ring_fd = -1,
                    .int_flags = 0,
                    .pad = {},
                    .pad2 = 0};
  std::array<Completion, batch_size> batch_ = {};
};

}  // namespace ublk
