#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace ublk {

// How many requests took how long: one bucket below 1024 ns, then four of equal width for each power of two,
// up to two minutes. src/ublk/latency.ts knows the same bounds. Written by one thread, read by anyone.
class Histogram {
 public:
  static constexpr size_t bucket_count = 109;

  static constexpr size_t bucket_of(uint64_t duration_ns) {
    if (duration_ns < first_bound_ns) return 0;
    const auto power = static_cast<uint32_t>(std::bit_width(duration_ns)) - 1;
    const size_t step = duration_ns >> (power - 2) & 3;
    const size_t bucket = 1 + 4 * (power - first_power) + step;
    return bucket < bucket_count ? bucket : bucket_count - 1;
  }

  // `times` requests that took so long.
  void add(uint64_t duration_ns, uint64_t times = 1) {
    bump(counts_[bucket_of(duration_ns)], times);
    bump(sum_ns_, duration_ns * times);
  }
  uint64_t count(size_t bucket) const { return counts_[bucket].load(std::memory_order_relaxed); }
  uint64_t sum_ns() const { return sum_ns_.load(std::memory_order_relaxed); }

 private:
  static constexpr uint32_t first_power = 10;
  static constexpr uint64_t first_bound_ns = 1ULL << first_power;

  static void bump(std::atomic<uint64_t>& counter, uint64_t amount) {
    counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }

  std::array<std::atomic<uint64_t>, bucket_count> counts_ = {};
  std::atomic<uint64_t> sum_ns_{0};
};

}  // namespace ublk
