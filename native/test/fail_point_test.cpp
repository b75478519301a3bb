// Where crash tests end the engine.
#include "fail_point.hpp"

#include <gtest/gtest.h>

#include <cerrno>

#include "abi.hpp"

namespace ublk {
namespace {

TEST(FailPoint, IsInertUntilATestNamesOne) {
  reach(Moment::before, abi::cmd_add_dev);
  reach(Moment::after, abi::cmd_add_dev);
}

TEST(FailPoint, RefusesWhatIsNoPoint) {
  for (const char* point : {"", "ADD_DEV", "during:ADD_DEV", "before:", "before:GET_FEATURES", ":ADD_DEV"}) {
    EXPECT_EQ(die_at(point), -EINVAL) << point;
  }
}

TEST(FailPoint, EndsTheProcessAtItsMomentOnly) {
  const auto pass_and_die = [] {
    die_at("after:ADD_DEV");
    reach(Moment::before, abi::cmd_add_dev);
    reach(Moment::after, abi::cmd_start_dev);
    reach(Moment::after, abi::cmd_add_dev);
  };
  EXPECT_EXIT(pass_and_die(), ::testing::KilledBySignal(SIGKILL), "");
}

}  // namespace
}  // namespace ublk
