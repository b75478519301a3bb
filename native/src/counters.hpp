#pragma once

#include <atomic>
#include <cstdint>

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
  std::atomic<uint64_t> errors{0};
  std::atomic<uint32_t> in_flight{0};

  // A request that was answered without an error.
  void count(const Request& request);
  void count_error();
};

}  // namespace ublk
