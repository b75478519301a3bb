#pragma once

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <vector>

#include "abi.hpp"
#include "admission.hpp"
#include "bell.hpp"
#include "commands.hpp"
#include "counters.hpp"
#include "data_mode.hpp"
#include "descriptors.hpp"
#include "payload.hpp"
#include "ring.hpp"
#include "status.hpp"
#include "tag.hpp"
#include "target.hpp"
#include "thread.hpp"

namespace ublk {

struct IoError {
  int error;  // positive errno
  uint8_t operation;
  uint64_t offset_bytes;
  uint64_t length_bytes;
};

// Called on a queue's thread; must not block.
struct QueueEvents {
  std::function<void(const IoError&)> on_io_error;
  // The queue's last tag was aborted by the kernel, or its ring broke.
  std::function<void()> on_ended;
};

struct QueueSpec {
  uint32_t device_id = 0;
  uint16_t queue_id = 0;
  uint16_t depth = 0;
  uint32_t max_io_bytes = 0;
  DataMode mode = DataMode::copy;
  bool batch = false;               // as the device was made with BATCH_IO
  int char_fd = -1;                 // /dev/ublkcN, which outlives the queue
  const Target* target = nullptr;   // outlives the queue
  std::vector<std::byte> cpu_mask;  // for the thread; empty: do not pin
  bool cpus_asked_for = false;      // by the user, and not only the kernel's proposal for this queue
  Gate* gate = nullptr;             // outlives the queue; null: it is never closed
  Limiter* limiter = nullptr;       // outlives the queue; null: no limits
  CopyBarrier* copies = nullptr;    // outlives the queue; null: the target is never copied
  // A drained queue answers nothing more, and its ring goes when nothing comes any more. For kernels that
  // lose a request which comes while its server's ring goes, and give what is not answered to the next
  // server.
  bool stalls_load = false;
};

// One hardware queue: one thread, one ring for ublk commands and target I/O alike.
class Queue : private TargetAnswers {
 public:
  Queue(QueueSpec spec, QueueEvents events);
  ~Queue();

  // Starts the thread and returns when every tag is fetched, so that START_DEV may be sent, or when that
  // failed.
  Status start();
  // Has the thread look again at what others may have changed: the admission and the target's answers. Any
  // thread.
  void wake() { bell_.ring(); }
  // Asks the thread to let the target finish, leave newer requests to the next server, and end. Any thread.
  void drain();
  // Returns when the thread has ended: after drain(), or when the kernel aborted every tag.
  void join() { thread_.join(); }
  // The same, but false when it has not ended after that time.
  bool join_for(uint32_t timeout_ms) { return thread_.join_for(timeout_ms); }

  const QueueCounters& counters() const { return counters_; }

 private:
  // The thread's life, in order.
  Status prepare();
  int pin_to_cpus() const;
  int create_ring();
  int open_target_queue();
  int fetch_all_tags();
  void serve();
  void wait_until_load_stalls();
  int enter_ring();
  bool done() const;

  // What wakes the thread.
  void handle(const Completion& completion);
  void handle_command(Tag& tag, int32_t result);
  void handle_target_io(Tag& tag, int32_t result);
  void handle_bell();
  void handle_delivery(const Completion& completion);
  void retire_armed_tags();

  // A request's life, in order.
  void begin(Tag& tag);
  void send_due();
  void serve_request(Tag& tag);
  void send_to_target(Tag& tag);
  void handle_payload(Tag& tag, int32_t result);
  void answer(uint16_t tag, int64_t result) override;
  void abandon(uint16_t tag) override;
  void submit() override;
  void finish(Tag& tag, int64_t result);
  void count(const Tag& tag, int64_t result);
  void time(const Tag& tag);
  void time_at_once();
  void set_serving_count(uint32_t count);

  const QueueSpec spec_;
  const QueueEvents events_;
  Bell bell_;
  Descriptors descriptors_;
  Ring ring_;
  Payload payload_;
  Commands commands_;
  TargetQueue target_queue_;
  std::vector<Tag> tags_;
  uint64_t now_ns_ = 0;  // the begin of this pass
  // Requests of this pass that the target answered at once, by operation.
  std::array<uint32_t, abi::op_write_zeroes + 1> at_once_ = {};
  uint32_t at_once_count_ = 0;
  uint32_t serving_count_ = 0;
  int handed_over_ = -EINPROGRESS;  // the kernel's answer to a batch of all tags
  std::atomic<bool> drain_wanted_{false};
  bool draining_ = false;
  bool unanswered_ = false;  // while draining: results stay here, and the next server gets the requests again
  bool broken_ = false;
  QueueCounters counters_;
  Admission admission_;
  Thread thread_;
};

}  // namespace ublk
