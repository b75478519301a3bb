#include "io_flusher.hpp"

#include <gtest/gtest.h>
#include <sys/prctl.h>

#include <cerrno>
#include <cstdarg>
#include <optional>
#include <thread>

#include "queue_rig.hpp"

// What prctl(PR_SET_IO_FLUSHER) shall answer, without doing anything; 0 or a positive errno.
static std::optional<int> scripted_answer;

extern "C" int __real_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
extern "C" int __wrap_prctl(int option, ...) {
  va_list rest;
  va_start(rest, option);
  const auto a = va_arg(rest, unsigned long);
  const auto b = va_arg(rest, unsigned long);
  const auto c = va_arg(rest, unsigned long);
  const auto d = va_arg(rest, unsigned long);
  va_end(rest);
  if (option != PR_SET_IO_FLUSHER || !scripted_answer) return __real_prctl(option, a, b, c, d);
  errno = *scripted_answer;
  return *scripted_answer == 0 ? 0 : -1;
}

namespace ublk {
namespace {

class IoFlusher : public ::testing::Test {
 protected:
  ~IoFlusher() override { scripted_answer.reset(); }
};

int become_one_with(int answer) {
  scripted_answer = answer;
  int result = 0;
  std::thread([&result] { result = become_io_flusher(); }).join();
  return result;
}

TEST_F(IoFlusher, IsNotDemandedOfAUserWhoMayNotBeOne) {
  EXPECT_EQ(become_one_with(EPERM), 0);
}

TEST_F(IoFlusher, ReportsAKernelThatDoesNotKnowIt) {
  EXPECT_EQ(become_one_with(EINVAL), -EINVAL);
}

TEST_F(IoFlusher, DoesNotBelieveTheCallWithoutTheTaskFlag) {
  EXPECT_EQ(become_one_with(0), -EPROTO);
}

TEST_F(IoFlusher, IsWhatEveryQueueThreadBecomes) {
  scripted_answer = EINVAL;
  FakeDriver driver;
  const Target target = null_target_of(1 << 20);
  const QueueSpec spec = {.device_id = 1,
                          .queue_id = 0,
                          .depth = 1,
                          .max_io_bytes = 4096,
                          .char_fd = driver.char_fd(),
                          .target = &target,
                          .cpu_mask = {}};
  const Status status = Queue(spec, {}).start();
  EXPECT_EQ(status.step, "START_QUEUE");
  EXPECT_EQ(status.error, -EINVAL);
}

}  // namespace
}  // namespace ublk
