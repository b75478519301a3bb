// Reads give zeros, writes vanish: the engine's own cost, and nothing else.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "abi.hpp"
#include "target.hpp"

namespace ublk {

namespace {

int open_null(const TargetSpec& spec, Target& target, const char*&) {
  target.size_bytes = spec.size_bytes;
  target.read_only = spec.read_only;
  target.discard = spec.discard;
  return 0;
}

int64_t queue_null_io(const Target&, TargetQueue&, Request& request) {
  switch (request.operation) {
    case abi::op_read:
      // The tag's buffer holds what was last written through it; zeros keep one user's data from another.
      std::memset(request.buffer, 0, request.dirty_bytes);
      request.dirty_bytes = 0;
      return static_cast<int64_t>(request.length_bytes);
    case abi::op_write:
      request.dirty_bytes = std::max(request.dirty_bytes, static_cast<uint32_t>(request.length_bytes));
      return static_cast<int64_t>(request.length_bytes);
    case abi::op_flush:
    case abi::op_discard:
    case abi::op_write_zeroes:
      return 0;
    default:
      return -EOPNOTSUPP;
  }
}

int grow_null(const TargetSpec&, Target& target, uint64_t size_bytes) {
  target.size_bytes = size_bytes;
  return 0;
}

int64_t complete_null_io(const Target&, TargetQueue&, Request&, int32_t) {
  return -EIO;
}

}  // namespace

const TargetOps null_target{
    .name = "null",
    .open = open_null,
    .queue_io = queue_null_io,
    .complete_io = complete_null_io,
    .grow = grow_null,
    .grows_while_serving = true,
};

}  // namespace ublk
