#include "fault_plan.hpp"

#include <utility>

namespace ublk {

namespace {

bool matches(const FaultRule& rule, const Request& request) {
  if (request.operation >= 32 || (rule.operations & (1U << request.operation)) == 0) return false;
  if (!rule.has_range) return true;
  return request.offset_bytes < rule.offset_bytes + rule.length_bytes &&
         rule.offset_bytes < request.offset_bytes + request.length_bytes;
}

}  // namespace

FaultPlan::FaultPlan(std::vector<FaultRule> rules, uint64_t seed) : random_state_(seed) {
  take(std::move(rules));
}

Fault FaultPlan::choose(const Request& request) {
  const std::lock_guard lock(mutex_);
  Fault chosen;
  for (Counted& counted : rules_) {
    if (!matches(counted.rule, request)) continue;
    counted.matches++;
    if (chosen.kind == FaultKind::none && hits(counted)) chosen = counted.rule.fault;
  }
  return chosen;
}

bool FaultPlan::hits(Counted& counted) {
  const FaultRule& rule = counted.rule;
  if (counted.matches <= rule.after || counted.hits >= rule.times) return false;
  if ((counted.matches - rule.after - 1) % rule.every != 0) return false;
  if (rule.probability < 1 && next_chance() >= rule.probability) return false;
  counted.hits++;
  return true;
}

// SplitMix64, from 0 up to but not including 1: the same seed gives the same faults on every machine.
double FaultPlan::next_chance() {
  random_state_ += 0x9e3779b97f4a7c15;
  uint64_t bits = random_state_;
  bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9;
  bits = (bits ^ (bits >> 27)) * 0x94d049bb133111eb;
  bits ^= bits >> 31;
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

void FaultPlan::replace(std::vector<FaultRule> rules) {
  const std::lock_guard lock(mutex_);
  take(std::move(rules));
  generation_++;
}

void FaultPlan::take(std::vector<FaultRule> rules) {
  rules_.clear();
  for (FaultRule& rule : rules) rules_.push_back({.rule = rule});
}

}  // namespace ublk
