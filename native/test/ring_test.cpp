// The ring against the io_uring of this machine.
#include "ring.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <set>
#include <string>

#include "open_files.hpp"
#include "refused_flags.hpp"
#include "scratch.hpp"
#include "unique_fd.hpp"

namespace ublk {
namespace {

constexpr RingOptions serving_options = {.entries = 8, .completion_entries = 64, .single_issuer = true};
constexpr RingOptions control_options = {.entries = 8, .completion_entries = 64, .sqe128 = true};
constexpr uint32_t deferred_flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;

void queue_nop(Ring& ring, uint64_t user_data) {
  io_uring_sqe* sqe = ring.next_sqe();
  ASSERT_NE(sqe, nullptr);
  sqe->opcode = IORING_OP_NOP;
  sqe->user_data = user_data;
}

// Waits for `count` completions and gives their user_data, checking that each came once and was a success.
std::set<uint64_t> reap(Ring& ring, size_t count) {
  std::set<uint64_t> seen;
  while (seen.size() < count) {
    if (ring.submit_and_wait_for(20'000) == -ETIME) {
      ADD_FAILURE() << "only " << seen.size() << " of " << count << " completions came";
      break;
    }
    for (const Completion& completion : ring.take_completions()) {
      EXPECT_EQ(completion.result, 0);
      EXPECT_TRUE(seen.insert(completion.user_data).second) << completion.user_data << " came twice";
    }
  }
  return seen;
}

class RingOfEachKind : public ::testing::TestWithParam<RingOptions> {};

INSTANTIATE_TEST_SUITE_P(Ring, RingOfEachKind, ::testing::Values(serving_options, control_options),
                         [](const auto& info) { return info.param.sqe128 ? "Control" : "Serving"; });

TEST_P(RingOfEachKind, CompletesWhatWasQueued) {
  Ring ring;
  ASSERT_EQ(ring.create(GetParam()), 0);
  queue_nop(ring, 0xdead'beef'0001);
  EXPECT_GE(ring.submit_and_wait(1), 0);
  const auto completions = ring.take_completions();
  ASSERT_EQ(completions.size(), 1u);
  EXPECT_EQ(completions[0].user_data, 0xdead'beef'0001u);
  EXPECT_EQ(completions[0].result, 0);
  EXPECT_TRUE(ring.take_completions().empty());
}

TEST_P(RingOfEachKind, SubmitsByItselfWhenFull) {
  Ring ring;
  ASSERT_EQ(ring.create(GetParam()), 0);
  for (uint64_t i = 0; i < 30; i++) queue_nop(ring, i);
  EXPECT_EQ(reap(ring, 30).size(), 30u);
}

TEST_P(RingOfEachKind, LosesNoCompletionWhenTheQueueOfThemOverflows) {
  Ring ring;
  ASSERT_EQ(ring.create(GetParam()), 0);
  for (uint64_t i = 0; i < 200; i++) queue_nop(ring, i);
  EXPECT_EQ(reap(ring, 200).size(), 200u);
}

TEST_P(RingOfEachKind, GivesZeroedEntriesEvenOnItsSecondRound) {
  Ring ring;
  ASSERT_EQ(ring.create(GetParam()), 0);
  const size_t entry_bytes = GetParam().sqe128 ? 128 : 64;
  const std::string zeros(entry_bytes, '\0');
  for (uint64_t i = 0; i < 3 * GetParam().entries; i++) {
    io_uring_sqe* sqe = ring.next_sqe();
    ASSERT_NE(sqe, nullptr);
    ASSERT_EQ(std::memcmp(sqe, zeros.data(), entry_bytes), 0) << "entry " << i;
    // What NOP does not look at may hold anything.
    sqe->opcode = IORING_OP_NOP;
    sqe->user_data = i;
    std::memset(sqe->__pad2, 0xff, sizeof(sqe->__pad2));
    std::memset(reinterpret_cast<std::byte*>(sqe) + 64, 0xff, entry_bytes - 64);
    ASSERT_EQ(reap(ring, 1), std::set<uint64_t>{i});
  }
}

TEST_P(RingOfEachKind, WaitEndsInTimeWhenNothingComes) {
  Ring ring;
  ASSERT_EQ(ring.create(GetParam()), 0);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(ring.submit_and_wait_for(50), -ETIME);
  const auto waited = std::chrono::steady_clock::now() - start;
  EXPECT_GE(waited, std::chrono::milliseconds(49));
  EXPECT_LT(waited, std::chrono::seconds(10));
  EXPECT_TRUE(ring.take_completions().empty());
}

TEST_P(RingOfEachKind, WorksAgainAfterATimedOutWait) {
  Ring ring;
  ASSERT_EQ(ring.create(GetParam()), 0);
  EXPECT_EQ(ring.submit_and_wait_for(1), -ETIME);
  queue_nop(ring, 5);
  EXPECT_EQ(reap(ring, 1), std::set<uint64_t>{5});
}

TEST_P(RingOfEachKind, CanBeMadeAgainAfterReset) {
  Ring ring;
  EXPECT_FALSE(ring.valid());
  for (int round = 0; round < 3; round++) {
    ASSERT_EQ(ring.create(GetParam()), 0);
    EXPECT_TRUE(ring.valid());
    queue_nop(ring, 9);
    EXPECT_EQ(reap(ring, 1), std::set<uint64_t>{9});
    ring.reset();
    EXPECT_FALSE(ring.valid());
    ring.reset();
  }
}

TEST_P(RingOfEachKind, LeavesNoDescriptorBehind) {
  const size_t before = open_file_count();
  for (int round = 0; round < 20; round++) {
    Ring ring;
    ASSERT_EQ(ring.create(GetParam()), 0);
  }
  EXPECT_EQ(open_file_count(), before);
}

TEST(Ring, HandsOutCompletionsInBatchesWithoutLosingAny) {
  Ring ring;
  ASSERT_EQ(ring.create({.entries = 512, .completion_entries = 1024, .single_issuer = true}), 0);
  for (uint64_t i = 0; i < 300; i++) queue_nop(ring, i);
  ASSERT_GE(ring.submit_and_wait(300), 0);
  std::set<uint64_t> seen;
  std::vector<size_t> batches;
  for (auto batch = ring.take_completions(); !batch.empty(); batch = ring.take_completions()) {
    batches.push_back(batch.size());
    for (const Completion& completion : batch) seen.insert(completion.user_data);
  }
  EXPECT_EQ(seen.size(), 300u);
  EXPECT_EQ(batches, (std::vector<size_t>{128, 128, 44}));
}

TEST(Ring, ServingRingDefersTaskWork) {
  Ring ring;
  ASSERT_EQ(ring.create(serving_options), 0);
  EXPECT_EQ(ring.setup_flags() & deferred_flags, deferred_flags) << "needs a kernel from 6.1 on";
  EXPECT_EQ(ring.setup_flags() & IORING_SETUP_SQE128, 0u);
}

TEST(Ring, ControlRingHasLargeEntriesAndNoOwner) {
  Ring ring;
  ASSERT_EQ(ring.create(control_options), 0);
  EXPECT_EQ(ring.setup_flags() & IORING_SETUP_SQE128, uint32_t{IORING_SETUP_SQE128});
  EXPECT_EQ(ring.setup_flags() & deferred_flags, 0u);
  io_uring_sqe* first = ring.next_sqe();
  io_uring_sqe* second = ring.next_sqe();
  EXPECT_EQ(reinterpret_cast<std::byte*>(second) - reinterpret_cast<std::byte*>(first), 128);
}

TEST(Ring, DropsDeferredTaskWorkWhereTheKernelRefusesIt) {
  const RefusedFlags before_6_1(IORING_SETUP_DEFER_TASKRUN, -EINVAL);
  Ring ring;
  ASSERT_EQ(ring.create(serving_options), 0);
  EXPECT_EQ(ring.setup_flags() & deferred_flags, 0u);
  EXPECT_EQ(ring.setup_flags() & IORING_SETUP_COOP_TASKRUN, uint32_t{IORING_SETUP_COOP_TASKRUN});
  queue_nop(ring, 1);
  EXPECT_EQ(reap(ring, 1), std::set<uint64_t>{1});
}

TEST(Ring, FallsBackToAPlainRing) {
  const RefusedFlags before_5_19(IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN, -EINVAL);
  Ring ring;
  ASSERT_EQ(ring.create(serving_options), 0);
  EXPECT_EQ(ring.setup_flags() & (deferred_flags | IORING_SETUP_COOP_TASKRUN), 0u);
  queue_nop(ring, 1);
  EXPECT_EQ(reap(ring, 1), std::set<uint64_t>{1});
}

TEST(Ring, ReportsAForbiddenIoUringWithoutTryingOn) {
  const RefusedFlags disabled(~0u, -EPERM);
  Ring ring;
  EXPECT_EQ(ring.create(serving_options), -EPERM);
  EXPECT_FALSE(ring.valid());
  EXPECT_EQ(disabled.attempts(), 1);
}

TEST(Ring, ReportsARingThatNoFlagsHelp) {
  const size_t before = open_file_count();
  Ring ring;
  EXPECT_EQ(ring.create({.entries = 1 << 20, .completion_entries = 1 << 20, .single_issuer = true}), -EINVAL);
  EXPECT_FALSE(ring.valid());
  EXPECT_EQ(open_file_count(), before);
}

TEST(Ring, ReadsAndWritesARegisteredFile) {
  const Scratch scratch;
  const UniqueFd file(::open(scratch.file("data", 8192).c_str(), O_RDWR | O_CLOEXEC));
  const std::array<int, 1> files = {file.get()};
  Ring ring;
  ASSERT_EQ(ring.create(serving_options), 0);
  ASSERT_EQ(ring.register_files(files), 0);
  std::string text = "through the ring";
  io_uring_sqe* sqe = ring.next_sqe();
  io_uring_prep_write(sqe, 0, text.data(), static_cast<unsigned>(text.size()), 4096);
  sqe->flags |= IOSQE_FIXED_FILE;
  ASSERT_GE(ring.submit_and_wait_for(20'000), 0);
  EXPECT_EQ(ring.take_completions()[0].result, static_cast<int>(text.size()));
  EXPECT_EQ(contents(scratch.path("data"), 4096, text.size()), text);
}

TEST(Ring, ReportsAFailedOperationInItsCompletion) {
  Ring ring;
  ASSERT_EQ(ring.create(serving_options), 0);
  char byte = 0;
  io_uring_prep_read(ring.next_sqe(), -1, &byte, 1, 0);
  ASSERT_GE(ring.submit_and_wait_for(20'000), 0);
  EXPECT_EQ(ring.take_completions()[0].result, -EBADF);
}

TEST(Ring, KeepsRegisteredFilesUntilReset) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  Ring ring;
  ASSERT_EQ(ring.create(serving_options), 0);
  const std::array<int, 1> files = {write_end.get()};
  ASSERT_EQ(ring.register_files(files), 0);
  write_end.reset();
  char byte = 0;
  EXPECT_EQ(::read(read_end.get(), &byte, 1), -1);
  EXPECT_EQ(errno, EAGAIN) << "the ring still holds the other end";
  ring.reset();
  // The kernel takes a ring apart in the background: wait for the end of file.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  ssize_t got = -1;
  while (got != 0 && std::chrono::steady_clock::now() < deadline) got = ::read(read_end.get(), &byte, 1);
  EXPECT_EQ(got, 0);
}

}  // namespace
}  // namespace ublk
