#include "fault_plan.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>

#include "abi.hpp"

namespace ublk {
namespace {

constexpr uint32_t every_operation = ~0u;
constexpr Fault eio = {.kind = FaultKind::error, .value = EIO};

Request request_of(uint8_t operation, uint64_t offset_bytes, uint64_t length_bytes) {
  Request request;
  request.operation = operation;
  request.offset_bytes = offset_bytes;
  request.length_bytes = length_bytes;
  return request;
}

// 'x' for each of so many reads that is hit, '.' for the others.
std::string hits(FaultPlan& plan, int count) {
  std::string result;
  for (int i = 0; i < count; i++) {
    const bool hit = plan.choose(request_of(abi::op_read, 0, 4096)).kind != FaultKind::none;
    result += hit ? 'x' : '.';
  }
  return result;
}

TEST(FaultPlan, WithoutRulesLeavesEverythingAlone) {
  FaultPlan plan({}, 1);
  EXPECT_EQ(hits(plan, 3), "...");
}

TEST(FaultPlan, CountsMatchingRequests) {
  FaultRule rule = {.operations = every_operation, .fault = eio};
  EXPECT_EQ(hits(*std::make_unique<FaultPlan>(std::vector{rule}, 1), 3), "xxx");
  rule.after = 2;
  EXPECT_EQ(hits(*std::make_unique<FaultPlan>(std::vector{rule}, 1), 5), "..xxx");
  rule.every = 3;
  EXPECT_EQ(hits(*std::make_unique<FaultPlan>(std::vector{rule}, 1), 9), "..x..x..x");
  rule.times = 2;
  EXPECT_EQ(hits(*std::make_unique<FaultPlan>(std::vector{rule}, 1), 12), "..x..x......");
}

TEST(FaultPlan, ChoosesByOperation) {
  FaultPlan plan({{.operations = 1u << abi::op_write, .fault = eio}}, 1);
  EXPECT_EQ(plan.choose(request_of(abi::op_read, 0, 512)).kind, FaultKind::none);
  EXPECT_EQ(plan.choose(request_of(abi::op_flush, 0, 0)).kind, FaultKind::none);
  EXPECT_EQ(plan.choose(request_of(255, 0, 0)).kind, FaultKind::none);
  const Fault fault = plan.choose(request_of(abi::op_write, 0, 512));
  EXPECT_EQ(fault.kind, FaultKind::error);
  EXPECT_EQ(fault.value, uint32_t{EIO});
}

TEST(FaultPlan, ChoosesWhatTouchesTheRange) {
  FaultPlan plan({{.operations = every_operation,
                   .has_range = true,
                   .offset_bytes = 8192,
                   .length_bytes = 4096,
                   .fault = eio}},
                 1);
  const auto is_hit = [&](uint64_t offset_bytes, uint64_t length_bytes) {
    return plan.choose(request_of(abi::op_read, offset_bytes, length_bytes)).kind != FaultKind::none;
  };
  EXPECT_FALSE(is_hit(0, 8192));
  EXPECT_TRUE(is_hit(0, 8704));
  EXPECT_TRUE(is_hit(8192, 512));
  EXPECT_TRUE(is_hit(11776, 8192));
  EXPECT_FALSE(is_hit(12288, 4096));
  EXPECT_FALSE(is_hit(0, 0)) << "a flush has no place";
}

TEST(FaultPlan, TakesTheFirstOfItsRulesAndCountsThemAll) {
  const Fault late = {.kind = FaultKind::delay, .value = 5};
  FaultPlan plan({{.operations = every_operation, .times = 1, .fault = eio},
                  {.operations = every_operation, .after = 1, .times = 1, .fault = late}},
                 1);
  EXPECT_EQ(plan.choose(request_of(abi::op_read, 0, 512)).kind, FaultKind::error);
  EXPECT_EQ(plan.choose(request_of(abi::op_read, 0, 512)).kind, FaultKind::delay);
  EXPECT_EQ(plan.choose(request_of(abi::op_read, 0, 512)).kind, FaultKind::none);
}

TEST(FaultPlan, MakesTheSameChoicesFromTheSameSeed) {
  const std::vector<FaultRule> rules = {{.operations = every_operation, .probability = 0.25, .fault = eio}};
  FaultPlan first(rules, 7);
  FaultPlan second(rules, 7);
  FaultPlan other(rules, 8);
  const std::string chosen = hits(first, 4000);
  EXPECT_EQ(chosen, hits(second, 4000));
  EXPECT_NE(chosen, hits(other, 4000));
  const auto count = std::count(chosen.begin(), chosen.end(), 'x');
  EXPECT_GT(count, 850);
  EXPECT_LT(count, 1150);
}

TEST(FaultPlan, StartsToCountAnewWithNewRules) {
  const FaultRule rule = {.operations = every_operation, .times = 1, .fault = eio};
  FaultPlan plan({rule}, 1);
  const uint32_t generation = plan.generation();
  EXPECT_EQ(hits(plan, 3), "x..");
  plan.replace({rule});
  EXPECT_NE(plan.generation(), generation);
  EXPECT_EQ(hits(plan, 3), "x..");
  plan.replace({});
  EXPECT_EQ(hits(plan, 3), "...");
}

}  // namespace
}  // namespace ublk
