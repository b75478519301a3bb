#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace ublk {

// Who owns a tag. Kernel documentation: a tag is fetched once, then travels kernel -> server -> kernel with
// every COMMIT_AND_FETCH, until the driver answers ABORT.
enum class TagState : uint8_t {
  idle,     // not fetched yet: nobody's
  armed,    // the kernel's: a FETCH or COMMIT_AND_FETCH is pending in the ring
  waiting,  // ours: its request is not admitted yet; when the queue drains, its next server gets it again
  serving,  // ours: the target works on its request
  held,     // ours: a request that came, or got no answer, while the queue drains; as waiting
  retired,  // the kernel's for good: aborted
};

constexpr bool tag_may_move(TagState from, TagState to) {
  switch (from) {
    case TagState::idle:
      return to == TagState::armed;
    case TagState::armed:
      return to == TagState::waiting || to == TagState::serving || to == TagState::held ||
             to == TagState::retired;
    case TagState::waiting:
      return to == TagState::serving;
    case TagState::serving:
      return to == TagState::armed || to == TagState::held;
    case TagState::held:
      return to == TagState::serving;
    case TagState::retired:
      return false;
  }
  return false;
}

// One request as the target sees it. All units are bytes; the descriptor's are always 512-byte sectors.
struct Request {
  uint64_t offset_bytes = 0;
  uint64_t length_bytes = 0;
  std::byte* buffer = nullptr;  // the bytes of a READ or WRITE; null where they are in the ring's table only
  uint64_t done_bytes = 0;      // for the target: how far a read or write that came back short has got
  uint32_t flags = 0;           // abi::io_f_*
  uint32_t dirty_bytes = 0;     // how much of the buffer a WRITE has filled since it was last all zeros
  int32_t buffer_index =
      -1;  // of the bytes in the ring's table, for READ_FIXED and WRITE_FIXED; -1: not there
  uint16_t buffer_number = 0;  // which of the queue's buffers, where they are not one for each tag
  uint16_t tag = 0;
  uint8_t operation = 0;       // abi::op_*
  uint8_t way = 0;             // for the target: which of several ways it tries
  bool in_ring_by_us = false;  // the pages are registered, and not by the kernel itself
};

class Tag {
 public:
  TagState state() const { return state_; }
  // A move that the protocol does not know means the engine's own books are wrong, and going on could
  // complete a request twice. Dying is the safe answer: the device stays recoverable and its requests are
  // issued again.
  void move(TagState to) {
    if (!tag_may_move(state_, to)) {
      std::fprintf(stderr, "ublk: tag %u: impossible move from state %u to %u\n",
                   static_cast<unsigned>(request.tag), static_cast<unsigned>(state_),
                   static_cast<unsigned>(to));
      std::abort();
    }
    state_ = to;
  }

  Request request;
  uint64_t begun_ns = 0;  // when the target was given the request

 private:
  TagState state_ = TagState::idle;
};

}  // namespace ublk
