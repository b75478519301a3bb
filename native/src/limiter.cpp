#include "limiter.hpp"

#include <algorithm>

#include "abi.hpp"
#include "clock.hpp"

namespace ublk {

// The generic cell rate algorithm, with places handed out ahead of time. `next_ns_` is when the next place
// begins; it never lies further back than the burst. A request larger than the burst passes like any other
// and makes the ones behind it wait for its whole length.
uint64_t Bucket::reserve(uint64_t units, uint64_t now_ns, uint64_t burst_ns) {
  const uint64_t rate = rate_.load(std::memory_order_relaxed);
  if (rate == 0) return now_ns;
  const uint64_t cost_ns = units * ns_per_second / rate;
  const uint64_t earliest_ns = now_ns - std::min(now_ns, burst_ns);
  uint64_t next_ns = next_ns_.load(std::memory_order_relaxed);
  uint64_t place_ns = 0;
  do {
    place_ns = std::max(next_ns, earliest_ns);
  } while (!next_ns_.compare_exchange_weak(next_ns, place_ns + cost_ns, std::memory_order_relaxed));
  return place_ns;
}

void Limiter::set(const Limits& limits) {
  const std::lock_guard lock(mutex_);
  wanted_ = limits;
  if (!suspended_) apply(wanted_);
}

void Limiter::suspend() {
  const std::lock_guard lock(mutex_);
  suspended_ = true;
  apply({});
}

void Limiter::resume() {
  const std::lock_guard lock(mutex_);
  suspended_ = false;
  apply(wanted_);
}

// A queue that looks meanwhile may meet a mixture of old and new, and looks again when the version is there.
void Limiter::apply(const Limits& limits) {
  read_iops_.set(limits.read_iops);
  write_iops_.set(limits.write_iops);
  iops_.set(limits.iops);
  read_bytes_.set(limits.read_bytes);
  write_bytes_.set(limits.write_bytes);
  bytes_.set(limits.bytes);
  burst_ns_.store(limits.burst_ms * ns_per_ms, std::memory_order_relaxed);
  const bool any = (limits.read_iops | limits.write_iops | limits.iops | limits.read_bytes |
                    limits.write_bytes | limits.bytes) != 0;
  active_.store(any, std::memory_order_relaxed);
  version_.fetch_add(1, std::memory_order_release);
}

uint64_t Limiter::reserve(const Request& request, uint64_t now_ns) {
  const bool reads = request.operation == abi::op_read;
  const bool carries_bytes = reads || request.operation == abi::op_write;
  const uint64_t bytes = carries_bytes ? request.length_bytes : 0;
  const uint64_t burst_ns = burst_ns_.load(std::memory_order_relaxed);
  return std::max({(reads ? read_iops_ : write_iops_).reserve(1, now_ns, burst_ns),
                   (reads ? read_bytes_ : write_bytes_).reserve(bytes, now_ns, burst_ns),
                   iops_.reserve(1, now_ns, burst_ns), bytes_.reserve(bytes, now_ns, burst_ns)});
}

}  // namespace ublk
