// A queue's thread: start, end by abort, end by drain, and what it is while it serves.
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <linux/prctl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "open_files.hpp"
#include "queue_rig.hpp"
#include "refused_flags.hpp"
#include "wait_until.hpp"

namespace ublk {
namespace {

class QueueLife : public ::testing::Test {
 protected:
  const Target null_ = null_target_of(1ull << 40);
};

TEST_F(QueueLife, EndsOnceWhenTheKernelAbortsEveryTag) {
  QueueRig rig(null_, 4);
  rig.driver().abort(0, 0);
  rig.driver().abort(0, 1);
  EXPECT_EQ(rig.serve(3, abi::op_read, 0, 8), 4096) << "tags not aborted yet are still served";
  EXPECT_EQ(rig.ends(), 0);
  rig.driver().abort(0, 2);
  rig.driver().abort(0, 3);
  EXPECT_TRUE(rig.wait_for_end());
  rig.queue().join();
  EXPECT_EQ(rig.ends(), 1);
  EXPECT_EQ(rig.driver().waiting_commands(), 0u) << "an aborted tag must not be fetched again";
}

TEST_F(QueueLife, AnswersWhatItOwnsBeforeItEndsByAbort) {
  HoldingTarget holding;
  QueueRig rig(holding.target(), 2);
  rig.deliver(0, abi::op_read, 0, 8);
  rig.driver().abort(0, 1);
  holding.let_go(1);
  EXPECT_EQ(rig.committed(0), 4096);
  EXPECT_EQ(rig.ends(), 0);
  rig.driver().abort(0, 0);
  EXPECT_TRUE(rig.wait_for_end());
}

TEST_F(QueueLife, TreatsARefusedCommandAsTheEndOfThatTag) {
  QueueRig rig(null_, 2);
  rig.driver().post(0, 0, -EINVAL);
  EXPECT_EQ(rig.serve(1, abi::op_read, 0, 8), 4096);
  rig.driver().abort(0, 1);
  EXPECT_TRUE(rig.wait_for_end());
}

TEST_F(QueueLife, DrainOfAnIdleQueueEndsItSilently) {
  QueueRig rig(null_, 4);
  rig.queue().drain();
  rig.queue().join();
  EXPECT_EQ(rig.ends(), 0) << "we asked for it";
}

TEST_F(QueueLife, DrainCommitsWhatTheTargetStillWorksOn) {
  HoldingTarget holding;
  QueueRig rig(holding.target(), 4);
  rig.deliver(0, abi::op_write, 0, 8);
  rig.deliver(2, abi::op_write, 8, 16);
  ASSERT_TRUE(wait_until([&] { return rig.queue().counters().in_flight == 2; }));
  rig.queue().drain();
  holding.let_go(2);
  rig.queue().join();
  ASSERT_EQ(rig.driver().waiting_commands(), 2u) << "results of finished I/O must reach the kernel";
  for (const FakeDriver::Command& commit : rig.driver().take_commands(2)) {
    EXPECT_EQ(commit.operation, abi::io_commit_and_fetch_req);
    EXPECT_EQ(commit.io.result, commit.io.tag == 0 ? 4096 : 8192);
  }
}

TEST_F(QueueLife, DrainLeavesNewRequestsToTheNextServer) {
  HoldingTarget holding;
  QueueRig rig(holding.target(), 4);
  rig.deliver(0, abi::op_write, 0, 8);
  ASSERT_TRUE(wait_until([&] { return rig.queue().counters().in_flight == 1; }));
  const uint64_t before = rig.driver().submissions();
  rig.queue().drain();
  ASSERT_TRUE(wait_until([&] { return rig.driver().submissions() > before; })) << "the queue slept on";
  rig.deliver(1, abi::op_write, 0, 8);
  holding.let_go(1);
  rig.queue().join();
  ASSERT_EQ(rig.driver().waiting_commands(), 1u);
  EXPECT_EQ(rig.driver().take_command()->io.tag, 0);
}

TEST_F(QueueLife, DrainOfAQueueThatStallsItsLoadAnswersNothing) {
  HoldingTarget holding;
  const std::unique_ptr<QueueRig> rig = QueueRig::stalling(holding.target(), 4);
  rig->deliver(0, abi::op_write, 0, 8);
  rig->deliver(2, abi::op_write, 8, 16);
  ASSERT_TRUE(wait_until([&] { return rig->queue().counters().in_flight == 2; }));
  rig->queue().drain();
  holding.let_go(2);
  rig->queue().join();
  EXPECT_EQ(rig->driver().waiting_commands(), 0u) << "an answer would bring new requests while the ring goes";
  EXPECT_EQ(rig->queue().counters().in_flight, 0u);
  EXPECT_TRUE(rig->errors().empty());
  EXPECT_EQ(rig->ends(), 0);
}

TEST_F(QueueLife, AQueueThatStallsItsLoadLeavesTheDriverATag) {
  HoldingTarget holding;
  const std::unique_ptr<QueueRig> rig = QueueRig::stalling(holding.target(), 2);
  rig->deliver(0, abi::op_write, 0, 8);
  rig->deliver(1, abi::op_write, 8, 8);
  ASSERT_TRUE(wait_until([&] { return rig->queue().counters().in_flight == 2; }));
  rig->queue().drain();
  holding.let_go(2);
  rig->queue().join();
  ASSERT_EQ(rig->driver().waiting_commands(), 1u) << "without one the driver does not see the ring go";
  EXPECT_EQ(rig->driver().take_command()->operation, abi::io_commit_and_fetch_req);
}

TEST_F(QueueLife, DestroyingAServingQueueEndsItsThread) {
  const size_t before = open_file_count();
  { QueueRig rig(null_, 8); }
  EXPECT_EQ(open_file_count(), before);
}

TEST_F(QueueLife, NamesTheStepThatFailed) {
  FakeDriver driver;
  QueueSpec spec = {.device_id = 1,
                    .queue_id = 0,
                    .depth = 4,
                    .max_io_bytes = 4096,
                    .char_fd = driver.char_fd(),
                    .target = &null_,
                    .cpu_mask = {}};
  {
    const RefusedFlags disabled(~0u, -EPERM);
    const Status status = Queue(spec, {}).start();
    EXPECT_EQ(status.step, "CREATE_RING");
    EXPECT_EQ(status.error, -EPERM);
  }
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const UniqueFd read_end(ends[0]);
  const UniqueFd write_end(ends[1]);
  spec.char_fd = read_end.get();
  const Status status = Queue(spec, {}).start();
  EXPECT_EQ(status.step, "START_QUEUE");
  EXPECT_EQ(status.error, -ENODEV) << "a pipe cannot be mapped";
}

// A number from a line of /proc/self/status.
uint64_t process_status(const std::string& key, int base) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key)) return std::stoull(line.substr(key.size()), nullptr, base);
  }
  ADD_FAILURE() << key << " is not in /proc/self/status";
  return 0;
}

// Containers often lack some, even for root.
bool has_capability(int capability) {
  return (process_status("CapEff:", 16) >> capability & 1) != 0;
}

// The last CPU that this process may use, alone.
cpu_set_t one_allowed_cpu() {
  cpu_set_t allowed;
  ::sched_getaffinity(0, sizeof(allowed), &allowed);
  int cpu = CPU_SETSIZE - 1;
  while (!CPU_ISSET(cpu, &allowed)) cpu--;
  cpu_set_t alone;
  CPU_ZERO(&alone);
  CPU_SET(cpu, &alone);
  return alone;
}

std::vector<std::byte> bytes_of(const cpu_set_t& cpus) {
  const auto* bytes = reinterpret_cast<const std::byte*>(&cpus);
  return {bytes, bytes + sizeof(cpus)};
}

// What the thread says about itself from inside a request.
struct ThreadFacts {
  std::string name;
  cpu_set_t cpus;
  sigset_t blocked_signals;
  int io_flusher;
};
ThreadFacts facts;

int64_t note_thread(const Target&, TargetQueue&, Request&) {
  char name[16] = {};
  pthread_getname_np(pthread_self(), name, sizeof(name));
  facts.name = name;
  ::sched_getaffinity(0, sizeof(facts.cpus), &facts.cpus);
  pthread_sigmask(SIG_SETMASK, nullptr, &facts.blocked_signals);
  facts.io_flusher = ::prctl(PR_GET_IO_FLUSHER, 0, 0, 0, 0);
  return 0;
}

const TargetOps noting_ops = {
    .name = "noting", .open = nullptr, .queue_io = note_thread, .complete_io = nullptr};

TEST_F(QueueLife, ServesOnANamedPinnedThreadThatMayNotWaitForWriteback) {
  Target target;
  target.ops = &noting_ops;
  const cpu_set_t wanted = one_allowed_cpu();
  QueueRig rig(target, 1, 5, bytes_of(wanted));
  ASSERT_EQ(rig.serve(0, abi::op_flush, 0, 0), 0);
  EXPECT_EQ(facts.name, "ublk12-q5");
  EXPECT_TRUE(CPU_EQUAL(&facts.cpus, &wanted));
  EXPECT_EQ(facts.io_flusher, has_capability(CAP_SYS_RESOURCE) ? 1 : -1);
  for (const int signal : {SIGTERM, SIGINT, SIGCHLD, SIGUSR1}) {
    EXPECT_EQ(sigismember(&facts.blocked_signals, signal), 1) << signal;
  }
}

TEST_F(QueueLife, ServesWhereItMayWhenItsCpusAreNotAllowed) {
  cpu_set_t absent;
  CPU_ZERO(&absent);
  CPU_SET(CPU_SETSIZE - 1, &absent);
  QueueRig rig(null_, 1, 0, bytes_of(absent));
  EXPECT_EQ(rig.serve(0, abi::op_read, 0, 8), 4096);
}

TEST_F(QueueLife, LocksItsBuffersAndGivesThemBack) {
  const uint64_t before = process_status("VmLck:", 10);
  {
    QueueRig rig(null_, 16);
    EXPECT_GE(process_status("VmLck:", 10) - before, 16u * QueueRig::max_io_bytes / 1024);
  }
  EXPECT_EQ(process_status("VmLck:", 10), before);
}

}  // namespace
}  // namespace ublk
