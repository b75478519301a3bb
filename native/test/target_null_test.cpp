#include <gtest/gtest.h>

#include <string>

#include "abi.hpp"
#include "target_rig.hpp"

namespace ublk {
namespace {

constexpr TargetKind null_kind = TargetKind::null;

TEST(NullTarget, TakesEveryCommonRequest) {
  TargetRig rig({.kind = null_kind, .path = "", .size_bytes = 1ull << 50});
  ASSERT_EQ(rig.open_result(), 0);
  EXPECT_EQ(rig.target().size_bytes, 1ull << 50);
  EXPECT_EQ(rig.write((1ull << 50) - 512, pattern(512, 1)), 512);
  EXPECT_EQ(rig.read_result(1ull << 49, 4096), 4096);
  EXPECT_EQ(rig.run(abi::op_flush, 0, 0), 0);
  EXPECT_EQ(rig.run(abi::op_discard, 0, 1ull << 30), 0);
  EXPECT_EQ(rig.run(abi::op_write_zeroes, 0, 1ull << 30), 0);
}

TEST(NullTarget, NeverShowsWhatWasWrittenBefore) {
  TargetRig rig({.kind = null_kind, .path = "", .size_bytes = 1 << 20});
  ASSERT_EQ(rig.write(0, pattern(8192, 2)), 8192);
  ASSERT_EQ(rig.write(0, pattern(512, 3)), 512);
  // As the queue does it: the very buffer of the writes comes back, not cleared by anyone but the target.
  ASSERT_EQ(rig.run(abi::op_read, 0, 512), 512);
  ASSERT_EQ(rig.run(abi::op_read, 0, 8192), 8192);
  EXPECT_EQ(rig.buffer(8192), std::string(8192, '\0'));
}

TEST(NullTarget, RefusesOperationsItDoesNotKnow) {
  TargetRig rig({.kind = null_kind, .path = "", .size_bytes = 1 << 20});
  EXPECT_EQ(rig.run(abi::op_zone_append, 0, 512), -EOPNOTSUPP);
  EXPECT_EQ(rig.run(255, 0, 512), -EOPNOTSUPP);
}

}  // namespace
}  // namespace ublk
