#include "device_counters.hpp"

namespace ublk {

void LatencyCounts::add(const Histogram& part) {
  for (size_t i = 0; i < counts.size(); i++) counts[i] += part.count(i);
  sum_ns += part.sum_ns();
}

void DeviceCounters::add(const QueueCounters& part) {
  constexpr auto order = std::memory_order_relaxed;
  reads += part.reads.load(order);
  writes += part.writes.load(order);
  flushes += part.flushes.load(order);
  discards += part.discards.load(order);
  write_zeroes += part.write_zeroes.load(order);
  read_bytes += part.read_bytes.load(order);
  write_bytes += part.write_bytes.load(order);
  discard_bytes += part.discard_bytes.load(order);
  write_zeroes_bytes += part.write_zeroes_bytes.load(order);
  errors += part.errors.load(order);
  throttled += part.throttled.load(order);
  throttled_ns += part.throttled_ns.load(order);
  in_flight += part.in_flight.load(order);
  waiting += part.waiting.load(order);
  read_latency.add(part.read_latency);
  write_latency.add(part.write_latency);
  flush_latency.add(part.flush_latency);
  discard_latency.add(part.discard_latency);
  write_zeroes_latency.add(part.write_zeroes_latency);
}

}  // namespace ublk
