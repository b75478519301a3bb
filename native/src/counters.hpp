#pragma once

#include <atomic>
#include <cstdint>

#include "histogram.hpp"
#include "tag.hpp"

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
  std::atomic<uint64_t> discard_bytes{0};
  std::atomic<uint64_t> write_zeroes_bytes{0};
  std::atomic<uint64_t> errors{0};
  std::atomic<uint64_t> throttled{0};  // requests that a limit has held back
  std::atomic<uint64_t> throttled_ns{0};
  std::atomic<uint32_t> in_flight{0};
  std::atomic<uint32_t> waiting{0};  // held back now, by a limit or the gate
  Histogram read_latency, write_latency, flush_latency, discard_latency, write_zeroes_latency;

  // A request that the target answered without an error. How long it took goes into the histogram apart.
  void count(const Request& request);
  Histogram& latency_of(uint8_t operation);
  void count_error();
  void count_throttled(uint64_t duration_ns);
};

}  // namespace ublk
