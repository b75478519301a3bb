#pragma once

#include <cstdint>
#include <string>

#include "mapping.hpp"
#include "ring.hpp"
#include "tag.hpp"
#include "unique_fd.hpp"

namespace ublk {

enum class TargetKind : uint8_t { null, memory, file };

struct TargetSpec {
  TargetKind kind = TargetKind::null;
  std::string path;  // file: required; memory: a file on tmpfs or hugetlbfs, or empty for anonymous memory
  uint64_t size_bytes = 0;
  uint32_t logical_block_bytes = 512;
  bool direct = true;  // file: use O_DIRECT where the file system can
  bool read_only = false;
  bool discard = false;  // discarded ranges give their space back
};

struct TargetOps;

// Where the bytes of one device live. Opened once, shared by its queues, which only read it.
struct Target {
  const TargetOps* ops = nullptr;
  UniqueFd file;
  Mapping memory;
  uint64_t size_bytes = 0;
  bool direct = false;
  bool read_only = false;
  bool discard = false;
  bool fua = false;  // a write with FUA is durable before it completes
};

// What a queue offers to the target that serves its requests.
class TargetQueue {
 public:
  TargetQueue(Ring& ring, int file_slot) : ring_(ring), file_slot_(file_slot) {}

  // An entry for I/O on the target's file whose completion comes back to `complete_io`. Null: the ring is
  // broken.
  io_uring_sqe* next_sqe() { return ring_.next_sqe(); }
  int file_slot() const { return file_slot_; }
  // Whether the requests' buffers are the ring's buffer 0.
  bool has_fixed_buffers() const { return has_fixed_buffers_; }
  void use_fixed_buffers() { has_fixed_buffers_ = true; }
  // Call after io_uring_prep_*, which overwrites these fields.
  static void tie(io_uring_sqe* sqe, const Request& request) {
    sqe->flags |= IOSQE_FIXED_FILE;
    sqe->user_data = target_io_mark | request.tag;
  }

  static constexpr uint64_t target_io_mark = 1ULL << 32;

 private:
  Ring& ring_;
  int file_slot_;
  bool has_fixed_buffers_ = false;
};

// `queue_io` and `complete_io` answer with the result of the request (bytes for READ and WRITE, 0 for the
// others, or a negative errno), or with this when a ring completion is still to come.
constexpr int64_t answer_later = INT64_MAX;

// One target: file-local functions and this table. Nothing here may block for long, allocate or throw.
struct TargetOps {
  const char* name;
  // Opens the place named by the spec and fills in what it can do. 0 or a negative errno, with the step that
  // failed.
  int (*open)(const TargetSpec& spec, Target& target, const char*& step);
  int64_t (*queue_io)(const Target& target, TargetQueue& queue, Request& request);
  int64_t (*complete_io)(const Target& target, TargetQueue& queue, Request& request, int32_t result);
};

extern const TargetOps null_target;
extern const TargetOps memory_target;
extern const TargetOps file_target;

const TargetOps& target_ops(TargetKind kind);

}  // namespace ublk
