#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "buffers.hpp"
#include "data_mode.hpp"
#include "ring.hpp"
#include "tag.hpp"

namespace ublk {

struct Target;

struct PayloadSpec {
  DataMode mode = DataMode::copy;
  int char_fd = -1;
  uint16_t queue_id = 0;
  uint16_t depth = 0;
  uint32_t max_io_bytes = 0;
  const Target* target = nullptr;
};

// How the payload of one queue's requests reaches the target and returns: what a data mode is made of, apart
// from what FETCH and COMMIT say about it.
class Payload {
 public:
  Payload(Ring& ring, const PayloadSpec& spec);

  // On the queue's thread. 0 or a negative errno.
  int prepare(Tag* tags);
  void reset() { buffers_.reset(); }

  // Before the target sees a request. 0: it may now; answer_later: a completion marked Mark::payload comes
  // first, for brought(); else a negative errno.
  int64_t bring(Request& request);
  int64_t brought(Request& request, int32_t result);
  // After the target has answered: gives the kernel what a READ has read, and lets the payload go. Returns
  // the result to commit.
  int64_t hand_over(Request& request, int64_t result);

  // The memory that the requests' buffers lie in, where there are any.
  std::shared_ptr<Mapping> memory() const { return buffers_.memory(); }
  bool has_bytes() const { return !has_pages_in_ring(spec_.mode); }
  // For a target that has the bytes in memory, in the modes where they pass through ours: copies a WRITE's
  // bytes to `place`, a READ's from it. 0, or -ENOSPC when the mapping behind `place` lost its pages.
  int copy_to(const Request& request, std::byte* place) const;
  int copy_from(const Request& request, const std::byte* place) const;

 private:
  int64_t bring_copied(Request& request);
  void give_back_buffer(Request& request);
  int64_t queue_register(Request& request);
  bool queue_unregister(const Request& request);
  int64_t queue_retry(const Request& request);
  io_uring_sqe* next_command(uint32_t operation, const Request& request);
  uint64_t position_of(const Request& request) const;
  bool target_copies() const;

  Ring& ring_;
  const PayloadSpec spec_;
  Buffers buffers_;
  std::vector<uint16_t> free_buffers_;
};

}  // namespace ublk
