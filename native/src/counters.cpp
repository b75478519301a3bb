#include "counters.hpp"

#include "abi.hpp"

namespace ublk {

namespace {

// One thread writes, so a plain add is enough; relaxed order, since each figure stands alone.
void add(std::atomic<uint64_t>& counter, uint64_t amount) {
  counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
}

}  // namespace

void QueueCounters::count(const Request& request) {
  switch (request.operation) {
    case abi::op_read:
      add(reads, 1);
      add(read_bytes, request.length_bytes);
      break;
    case abi::op_write:
      add(writes, 1);
      add(write_bytes, request.length_bytes);
      break;
    case abi::op_flush:
      add(flushes, 1);
      break;
    case abi::op_discard:
      add(discards, 1);
      add(discard_bytes, request.length_bytes);
      break;
    default:
      add(write_zeroes, 1);
      add(write_zeroes_bytes, request.length_bytes);
      break;
  }
}

void QueueCounters::count_throttled(uint64_t duration_ns) {
  add(throttled, 1);
  add(throttled_ns, duration_ns);
}

Histogram& QueueCounters::latency_of(uint8_t operation) {
  switch (operation) {
    case abi::op_read:
      return read_latency;
    case abi::op_write:
      return write_latency;
    case abi::op_flush:
      return flush_latency;
    case abi::op_discard:
      return discard_latency;
    default:
      return write_zeroes_latency;
  }
}

void QueueCounters::count_error() {
  add(errors, 1);
}

}  // namespace ublk
