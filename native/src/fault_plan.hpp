#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "tag.hpp"

namespace ublk {

enum class FaultKind : uint8_t { none, delay, error, tear, hang, die };
enum class DeathPoint : uint32_t { before_io, after_io, after_commit };

// What shall happen to one request.
struct Fault {
  FaultKind kind = FaultKind::none;
  uint32_t value =
      0;  // delay: milliseconds; error: the errno; tear: bytes that are stored; die: a DeathPoint
};

// Which requests it shall happen to. Of those that match, the first `after` pass; then the first and every
// `every`th are hit, `times` in all, each with this probability.
struct FaultRule {
  uint32_t operations = 0;  // a bit for each abi::op_*
  bool has_range = false;
  uint64_t offset_bytes = 0;
  uint64_t length_bytes = 0;
  uint32_t after = 0;
  uint32_t every = 1;
  uint32_t times = UINT32_MAX;
  double probability = 1;
  Fault fault;
};

// The faults of one device, shared by its queues: a rule counts the requests of all of them. It takes a lock
// for each request, which only a target for tests may do.
class FaultPlan {
 public:
  FaultPlan(std::vector<FaultRule> rules, uint64_t seed);

  Fault choose(const Request& request);
  // The new rules count from zero.
  void replace(std::vector<FaultRule> rules);
  // Differs after each replacement.
  uint32_t generation() const { return generation_; }

 private:
  struct Counted {
    FaultRule rule;
    uint64_t matches = 0;
    uint32_t hits = 0;
  };

  bool hits(Counted& counted);
  double next_chance();
  void take(std::vector<FaultRule> rules);

  std::mutex mutex_;
  std::vector<Counted> rules_;
  uint64_t random_state_;
  std::atomic<uint32_t> generation_{0};
};

}  // namespace ublk
