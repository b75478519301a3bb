#include "counters.hpp"

#include "abi.hpp"

namespace ublk {

namespace {

// One thread writes, so a plain add is enough; relaxed order, since each figure stands alone.
void add(std::atomic<uint64_t>& counter, uint64_t amount) {
  counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
}

}  // namespace

void QueueCounters::count(const Request& request, uint64_t duration_ns) {
  switch (request.operation) {
    case abi::op_read:
      add(reads, 1);
      add(read_bytes, request.length_bytes);
      read_latency.add(duration_ns);
      break;
    case abi::op_write:
      add(writes, 1);
      add(write_bytes, request.length_bytes);
      write_latency.add(duration_ns);
      break;
    case abi::op_flush:
      add(flushes, 1);
      flush_latency.add(duration_ns);
      break;
    case abi::op_discard:
      add(discards, 1);
      add(discard_bytes, request.length_bytes);
      discard_latency.add(duration_ns);
      break;
    default:
      add(write_zeroes, 1);
      add(write_zeroes_bytes, request.length_bytes);
      write_zeroes_latency.add(duration_ns);
      break;
  }
}

void QueueCounters::count_throttled(uint64_t duration_ns) {
  add(throttled, 1);
  add(throttled_ns, duration_ns);
}

void QueueCounters::count_error() {
  add(errors, 1);
}

}  // namespace ublk
