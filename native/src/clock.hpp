#pragma once

#include <time.h>

#include <cstdint>

namespace ublk {

constexpr uint64_t ns_per_second = 1'000'000'000;
constexpr uint64_t ns_per_ms = 1'000'000;

// CLOCK_MONOTONIC. Read from the vDSO: no system call on a real machine.
inline uint64_t monotonic_ns() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * ns_per_second + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace ublk
