#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <vector>

#include "abi.hpp"
#include "mapping.hpp"
#include "ring.hpp"
#include "status.hpp"
#include "tag.hpp"
#include "target.hpp"
#include "thread.hpp"
#include "unique_fd.hpp"

namespace ublk {

// Written by the queue's thread only, read by anyone.
struct QueueCounters {
  std::atomic<uint64_t> reads{0};
  std::atomic<uint64_t> writes{0};
  std::atomic<uint64_t> flushes{0};
  std::atomic<uint64_t> discards{0};
  std::atomic<uint64_t> write_zeroes{0};
  std::atomic<uint64_t> read_bytes{0};
  std::atomic<uint64_t> write_bytes{0};
  std::atomic<uint64_t> errors{0};
  std::atomic<uint32_t> in_flight{0};
};

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
  int char_fd = -1;                 // /dev/ublkcN, which outlives the queue
  const Target* target = nullptr;   // outlives the queue
  std::vector<std::byte> cpu_mask;  // from GET_QUEUE_AFFINITY; empty: do not pin
};

// One hardware queue: one thread, one ring for ublk commands and target I/O alike, one buffer per tag.
class Queue {
 public:
  Queue(QueueSpec spec, QueueEvents events);
  ~Queue();

  // Starts the thread and returns when every tag is fetched, so that START_DEV may be sent, or when that
  // failed.
  Status start();
  // Asks the thread to finish what the target works on, leave newer requests to the next server, and end. Any
  // thread.
  void drain();
  // Returns when the thread has ended: after drain(), or when the kernel aborted every tag.
  void join() { thread_.join(); }

  const QueueCounters& counters() const { return counters_; }

 private:
  // The thread's life, in order.
  Status prepare();
  int pin_to_cpus() const;
  Status allocate_buffers();
  int create_ring();
  void fetch_all_tags();
  void serve();
  bool done() const;

  // A request's life, in order.
  void handle(const Completion& completion);
  void handle_command(Tag& tag, int32_t result);
  void begin(Tag& tag);
  void finish(Tag& tag, int64_t result);
  void queue_command(Tag& tag, uint32_t operation, int32_t result);
  void read_descriptor(Request& request) const;
  void count(const Request& request, int64_t result);
  void watch_wake_up();

  const QueueSpec spec_;
  const QueueEvents events_;
  UniqueFd wake_;
  uint64_t wake_value_ = 0;
  Mapping descriptors_;
  Mapping buffers_;
  Ring ring_;
  TargetQueue target_queue_;
  std::vector<Tag> tags_;
  uint32_t armed_count_ = 0;
  uint32_t serving_count_ = 0;
  bool draining_ = false;
  bool broken_ = false;
  QueueCounters counters_;
  Thread thread_;
};

// Where queue `queue_id` finds its descriptors: the stride is that of the deepest queue the kernel knows,
// whatever the depth of this one.
uint64_t descriptor_offset_bytes(uint16_t queue_id);
size_t descriptor_length_bytes(uint16_t depth);

}  // namespace ublk
