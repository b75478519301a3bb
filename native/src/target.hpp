#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "bell.hpp"
#include "mapping.hpp"
#include "mark.hpp"
#include "memory_limits.hpp"
#include "payload.hpp"
#include "ring.hpp"
#include "tag.hpp"
#include "unique_fd.hpp"

namespace ublk {

class FaultPlan;
class JsChannel;

enum class TargetKind : uint8_t { null, memory, file, js, fault };

struct TargetSpec {
  TargetKind kind = TargetKind::null;
  std::string path =
      {};  // file: required; memory: a file on tmpfs or hugetlbfs, or empty for anonymous memory
  uint64_t size_bytes = 0;
  uint32_t logical_block_bytes = 512;
  bool direct = true;  // file: use O_DIRECT where the file system can
  bool read_only = false;
  bool discard = false;                        // discarded ranges give their space back
  std::shared_ptr<JsChannel> js = nullptr;     // js: required
  TargetKind fault_over = TargetKind::null;    // fault: the target that has the faults
  std::shared_ptr<FaultPlan> fault = nullptr;  // fault: required
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
  bool mapped_only = false;  // the file cannot be written to, only its mapping
  bool fua = false;          // a write with FUA is durable before it completes
  // What the file below asks of memory that is transferred without a copy.
  MemoryLimits limits;
  bool is_block_device = false;
  bool discards_by_command = false;  // see Backing
  bool write_zeroes = true;
  bool volatile_cache = true;  // a write may be lost until a FLUSH; false: it is durable when it completes
  uint32_t discard_granularity_bytes = 4096;
  std::shared_ptr<JsChannel> js;
  const TargetOps* inner = nullptr;  // of the target that has faults
  std::shared_ptr<FaultPlan> fault;
  uint32_t logical_block_bytes = 512;
};

// Takes the answers that a target gives outside `queue_io` and `complete_io`.
class TargetAnswers {
 public:
  virtual void answer(uint16_t tag, int64_t result) = 0;
  virtual void abandon(uint16_t tag) = 0;
  virtual void submit() = 0;

 protected:
  ~TargetAnswers() = default;
};

// What a target keeps for one queue.
class TargetState {
 public:
  virtual ~TargetState() = default;
};

// What a target may want to know of a queue before it serves its first request.
struct QueueShape {
  uint16_t queue_id = 0;
  uint16_t depth = 0;
  std::shared_ptr<Mapping> buffers;  // the memory that holds every request's buffer
};

// What a queue offers to the target that serves its requests.
class TargetQueue {
 public:
  TargetQueue(Ring& ring, int file_slot, Payload& payload, Bell* bell = nullptr,
              TargetAnswers* answers = nullptr)
      : ring_(ring), file_slot_(file_slot), payload_(payload), bell_(bell), answers_(answers) {}

  // An entry for I/O on the target's file whose completion comes back to `complete_io`. Null: the ring is
  // broken.
  io_uring_sqe* next_sqe() { return ring_.next_sqe(); }
  int file_slot() const { return file_slot_; }
  // Whether the bytes of a READ or WRITE can be had here, or only named by their index in the ring's table.
  bool has_bytes() const { return payload_.has_bytes(); }
  // Copy a WRITE's bytes to their place in memory, a READ's from there. 0, or -ENOSPC when the mapping behind
  // `place` lost its pages.
  int copy_to(const Request& request, std::byte* place) { return payload_.copy_to(request, place); }
  int copy_from(const Request& request, const std::byte* place) { return payload_.copy_from(request, place); }
  // Call after io_uring_prep_*, which overwrites these fields.
  static void tie(io_uring_sqe* sqe, const Request& request) {
    sqe->flags |= IOSQE_FIXED_FILE;
    sqe->user_data = to_user_data(Mark::target_io, request.tag);
  }

  // For a target whose answers come from elsewhere. Any thread: has the queue call the target's `on_bell`.
  void ring_bell() { bell_->ring(); }
  // In `on_bell`, on the queue's thread: the result of a request for which `queue_io` promised one later.
  void answer(uint16_t tag, int64_t result) { answers_->answer(tag, result); }
  // The same for a request of a draining queue that will have no answer: its next server gets it again.
  void abandon(uint16_t tag) { answers_->abandon(tag); }
  // The queue shall end: it takes no new requests, and waits for the answers that are still out.
  bool draining() const { return draining_; }
  void begin_drain() { draining_ = true; }
  // Sends what is queued in the ring, commits of answered requests included, before the queue would.
  void submit() { answers_->submit(); }

  // Made by `open_queue`; destroyed on the queue's thread when that ends.
  std::unique_ptr<TargetState> state;

 private:
  Ring& ring_;
  int file_slot_;
  Payload& payload_;
  Bell* bell_;
  TargetAnswers* answers_;
  bool draining_ = false;
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
  // The rest may be null. On the queue's thread, before its first request: 0 or a negative errno.
  int (*open_queue)(const Target& target, TargetQueue& queue, const QueueShape& shape) = nullptr;
  // After the requests and completions of one pass, before their commits are sent.
  void (*end_pass)(const Target& target, TargetQueue& queue) = nullptr;
  // After a ring of the queue's bell, which others use as well.
  void (*on_bell)(const Target& target, TargetQueue& queue) = nullptr;
  // Makes the opened target serve `size_bytes`, which is more than before, on a control thread. 0 or a
  // negative errno, and then nothing has changed. Null: it cannot.
  int (*grow)(const TargetSpec& spec, Target& target, uint64_t size_bytes) = nullptr;
  // Whether `grow` changes nothing that the queues read; else it is called while no request is at work.
  bool grows_while_serving = false;
  // Makes durable what was written. May block; never on a queue's thread. Null: there is nothing to do.
  int (*sync)(const Target& target) = nullptr;
  // The target moves bytes with TargetQueue::copy_to and copy_from alone and needs no buffer of the request
  // where the data mode can do without.
  bool copies_payload = false;
  // The target can do its transfers in the ring, by `buffer_index`: the zero-copy modes can be used.
  bool transfers_in_ring = false;
};

extern const TargetOps null_target;
extern const TargetOps memory_target;
extern const TargetOps file_target;
extern const TargetOps js_target;
extern const TargetOps fault_target;

const TargetOps& target_ops(TargetKind kind);

}  // namespace ublk
