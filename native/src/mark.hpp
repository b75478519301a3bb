#pragma once

#include <cstdint>

namespace ublk {

// What a completion in a queue's ring is an answer to: the upper half of its user_data. The lower half is the
// tag, where there is one.
enum class Mark : uint32_t {
  command,        // a ublk command: the tag comes with a request, or is aborted
  target_io,      // I/O of the target
  payload,        // the request's pages are in the ring's table, or it is time to try that again
  release,        // they could not be taken out of it
  batch_prepare,  // the tags are in the kernel's hands, or it refused them
  batch_deliver,  // tags that came with a request, or the end of them
  batch_commit,   // how many of the answers the kernel has taken
  bell,           // another thread rang
};

constexpr uint64_t to_user_data(Mark mark, uint16_t tag = 0) {
  return uint64_t{static_cast<uint32_t>(mark)} << 32 | tag;
}
constexpr Mark mark_of(uint64_t user_data) {
  return static_cast<Mark>(user_data >> 32);
}
constexpr uint16_t tag_of(uint64_t user_data) {
  return static_cast<uint16_t>(user_data);
}

// Places in the fixed-file table of a queue's ring.
constexpr int char_slot = 0;
constexpr int target_slot = 1;

}  // namespace ublk
