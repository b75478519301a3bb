#pragma once

#include <array>
#include <cstdint>

#include "counters.hpp"
#include "histogram.hpp"

namespace ublk {

// A histogram that stands still.
struct LatencyCounts {
  std::array<uint64_t, Histogram::bucket_count> counts = {};
  uint64_t sum_ns = 0;

  void add(const Histogram& part);
};

// The counters of a device: the sum over its queues.
struct DeviceCounters {
  uint64_t reads = 0, writes = 0, flushes = 0, discards = 0, write_zeroes = 0;
  uint64_t read_bytes = 0, write_bytes = 0, discard_bytes = 0, write_zeroes_bytes = 0;
  uint64_t errors = 0, throttled = 0, throttled_ns = 0;
  uint32_t in_flight = 0, waiting = 0;
  bool frozen = false;
  LatencyCounts read_latency, write_latency, flush_latency, discard_latency, write_zeroes_latency;

  void add(const QueueCounters& part);
};

}  // namespace ublk
