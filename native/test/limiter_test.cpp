// Rates, exactly: the limiter is told what time it is.
#include "limiter.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "abi.hpp"
#include "clock.hpp"

namespace ublk {
namespace {

constexpr uint64_t start_ns = 1000 * ns_per_second;

Request request(uint8_t operation, uint64_t length_bytes = 4096) {
  return {.length_bytes = length_bytes, .operation = operation};
}

// How many requests of this kind pass within `duration_ms`, for a user who always has one waiting.
uint64_t passed(Limiter& limiter, const Request& request, uint64_t duration_ms) {
  const uint64_t end_ns = start_ns + duration_ms * ns_per_ms;
  uint64_t count = 0;
  for (uint64_t now_ns = start_ns;; count++) {
    const uint64_t release_ns = limiter.reserve(request, now_ns);
    if (release_ns >= end_ns) return count;
    now_ns = std::max(now_ns, release_ns);
  }
}

TEST(Limiter, IsOffUntilALimitIsSet) {
  Limiter limiter;
  EXPECT_FALSE(limiter.active());
  limiter.set({.iops = 1});
  EXPECT_TRUE(limiter.active());
  limiter.set({});
  EXPECT_FALSE(limiter.active());
}

TEST(Limiter, KeepsOperationsPerSecondWithinOneBurst) {
  Limiter limiter;
  limiter.set({.iops = 1000, .burst_ms = 20});
  const uint64_t count = passed(limiter, request(abi::op_read), 1000);
  EXPECT_GE(count, 1000u);
  EXPECT_LE(count, 1021u);
}

TEST(Limiter, KeepsBytesPerSecondWhateverTheSizeOfARequest) {
  for (const uint64_t length_bytes : {512, 4096, 1 << 20}) {
    Limiter limiter;
    limiter.set({.bytes = 100 << 20, .burst_ms = 10});
    const uint64_t bytes = passed(limiter, request(abi::op_write, length_bytes), 10'000) * length_bytes;
    EXPECT_GE(bytes, uint64_t{1000} << 20) << length_bytes;
    EXPECT_LE(bytes, (uint64_t{1002} << 20) + length_bytes) << length_bytes;
  }
}

TEST(Limiter, LetsARequestPassThatIsLargerThanTheBurst) {
  Limiter limiter;
  limiter.set({.bytes = 1 << 20, .burst_ms = 1});
  EXPECT_LE(limiter.reserve(request(abi::op_read, 8 << 20), start_ns), start_ns);
  const uint64_t next_ns = limiter.reserve(request(abi::op_read, 512), start_ns);
  EXPECT_NEAR(static_cast<double>(next_ns - start_ns), 8e9, 2e6) << "and the next one waits for its length";
}

TEST(Limiter, CountsReadsAndWritesApartAndTogether) {
  Limiter limiter;
  limiter.set({.read_iops = 10, .burst_ms = 1});
  EXPECT_LE(passed(limiter, request(abi::op_read), 1000), 11u);
  EXPECT_LE(limiter.reserve(request(abi::op_write), start_ns), start_ns);
  limiter.set({.write_iops = 10, .burst_ms = 1});
  EXPECT_LE(passed(limiter, request(abi::op_write), 1000), 11u);
  EXPECT_LE(passed(limiter, request(abi::op_discard), 1000), 1u) << "a discard is a write";
  EXPECT_LE(limiter.reserve(request(abi::op_read), start_ns), start_ns);
  limiter.set({.iops = 10, .burst_ms = 1});
  const uint64_t reads = passed(limiter, request(abi::op_read), 500);
  EXPECT_LE(reads + passed(limiter, request(abi::op_write), 1000), 11u);
}

TEST(Limiter, CountsNoBytesOfADiscard) {
  Limiter limiter;
  limiter.set({.bytes = 512, .burst_ms = 1});
  for (int i = 0; i < 10; i++) {
    EXPECT_LE(limiter.reserve(request(abi::op_discard, 1 << 30), start_ns), start_ns);
    EXPECT_LE(limiter.reserve(request(abi::op_write_zeroes, 1 << 30), start_ns), start_ns);
  }
}

TEST(Limiter, SavesNoMoreThanTheBurst) {
  Limiter limiter;
  limiter.set({.iops = 100, .burst_ms = 50});
  limiter.reserve(request(abi::op_read), start_ns);
  const uint64_t later_ns = start_ns + 3600 * ns_per_second;
  int at_once = 0;
  while (limiter.reserve(request(abi::op_read), later_ns) <= later_ns) at_once++;
  EXPECT_EQ(at_once, 6) << "5 for 50 ms, and one that is due now";
}

TEST(Limiter, WorksRightAfterTheMachineStarted) {
  Limiter limiter;
  limiter.set({.iops = 10, .burst_ms = 60'000});
  EXPECT_LE(limiter.reserve(request(abi::op_read), 5), 5u);
}

TEST(Limiter, IsLiftedWhileItIsSuspended) {
  Limiter limiter;
  limiter.set({.iops = 1});
  const uint32_t version = limiter.version();
  limiter.suspend();
  EXPECT_FALSE(limiter.active());
  EXPECT_NE(limiter.version(), version);
  limiter.set({.iops = 2});
  EXPECT_FALSE(limiter.active());
  limiter.resume();
  EXPECT_TRUE(limiter.active());
}

TEST(Limiter, IsExactOverManyThreads) {
  Limiter limiter;
  limiter.set({.iops = 10'000, .burst_ms = 1});
  constexpr int per_thread = 5000;
  const auto reserve_all = [&limiter] {
    for (int i = 0; i < per_thread; i++) limiter.reserve(request(abi::op_read), start_ns);
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; i++) threads.emplace_back(reserve_all);
  for (std::thread& thread : threads) thread.join();
  const uint64_t next_ns = limiter.reserve(request(abi::op_read), start_ns);
  EXPECT_EQ(next_ns, start_ns - ns_per_ms + 4 * per_thread * (ns_per_second / 10'000)) << "no place twice";
}

}  // namespace
}  // namespace ublk
