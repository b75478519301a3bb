// A queue's requests: from descriptor to commit.
#include "queue.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <set>
#include <string>

#include "queue_rig.hpp"
#include "scratch.hpp"
#include "target_rig.hpp"

namespace ublk {
namespace {

constexpr uint64_t image_bytes = 1 << 20;

void fill(std::byte* buffer, const std::string& bytes) {
  std::memcpy(buffer, bytes.data(), bytes.size());
}

std::string taken(const std::byte* buffer, size_t length_bytes) {
  return {reinterpret_cast<const char*>(buffer), length_bytes};
}

class Queues : public ::testing::Test {
 protected:
  const Target null_ = null_target_of(1ull << 40);
};

TEST_F(Queues, FetchesEveryTagOnceWithABufferOfItsOwn) {
  QueueRig rig(null_, 16, 3);
  std::set<uint64_t> addresses;
  for (uint16_t tag = 0; tag < 16; tag++) {
    const FakeDriver::Command& fetch = rig.fetches()[tag];
    EXPECT_EQ(fetch.operation, abi::io_fetch_req);
    EXPECT_EQ(fetch.io.q_id, 3);
    EXPECT_EQ(fetch.io.tag, tag);
    EXPECT_EQ(fetch.io.result, 0);
    EXPECT_EQ(fetch.io.addr % 4096, 0u);
    addresses.insert(fetch.io.addr);
  }
  ASSERT_EQ(addresses.size(), 16u);
  uint64_t previous = 0;
  for (const uint64_t address : addresses) {
    EXPECT_GE(address - previous, QueueRig::max_io_bytes);
    previous = address;
  }
}

TEST_F(Queues, CommitsBytesForTransfersAndZeroForTheRest) {
  QueueRig rig(null_, 4);
  EXPECT_EQ(rig.serve(0, abi::op_read, 8, 16), 16 * 512);
  EXPECT_EQ(rig.serve(1, abi::op_write, 8, 128), 128 * 512);
  EXPECT_EQ(rig.serve(2, abi::op_flush, 0, 0), 0);
  EXPECT_EQ(rig.serve(3, abi::op_discard, 0, 1 << 22), 0);
  EXPECT_EQ(rig.serve(0, abi::op_write_zeroes, 0, 1 << 22), 0);
}

TEST_F(Queues, CountWhatTheyServed) {
  QueueRig rig(null_, 2);
  rig.serve(0, abi::op_read, 0, 8);
  rig.serve(0, abi::op_read, 0, 1);
  rig.serve(1, abi::op_write, 0, 16);
  rig.serve(0, abi::op_flush, 0, 0);
  rig.serve(0, abi::op_discard, 0, 8);
  rig.serve(0, abi::op_write_zeroes, 0, 8);
  const QueueCounters& counters = rig.queue().counters();
  EXPECT_EQ(counters.reads, 2u);
  EXPECT_EQ(counters.read_bytes, 9u * 512);
  EXPECT_EQ(counters.writes, 1u);
  EXPECT_EQ(counters.write_bytes, 16u * 512);
  EXPECT_EQ(counters.flushes, 1u);
  EXPECT_EQ(counters.discards, 1u);
  EXPECT_EQ(counters.write_zeroes, 1u);
  EXPECT_EQ(counters.errors, 0u);
  EXPECT_EQ(counters.in_flight, 0u);
}

TEST_F(Queues, MovePayloadBetweenBufferAndFile) {
  const Scratch scratch;
  const Target file = file_target_on(scratch.file("image", image_bytes), image_bytes);
  QueueRig rig(file, 2);
  const std::string bytes = pattern(8192, 1);
  fill(rig.buffer(0), bytes);
  ASSERT_EQ(rig.serve(0, abi::op_write, 24, 16), 8192);
  EXPECT_EQ(rig.serve(1, abi::op_flush, 0, 0), 0);
  EXPECT_EQ(contents(scratch.path("image"), 24 * 512, 8192), bytes);
  ASSERT_EQ(rig.serve(1, abi::op_read, 24, 16), 8192);
  EXPECT_EQ(taken(rig.buffer(1), 8192), bytes);
  EXPECT_EQ(rig.serve(1, abi::op_discard, 24, 8), 0);
  ASSERT_EQ(rig.serve(1, abi::op_read, 24, 16), 8192);
  EXPECT_EQ(taken(rig.buffer(1), 8192), std::string(4096, '\0') + bytes.substr(4096));
}

TEST_F(Queues, CountSectorsOf512BytesPastFourGibibytes) {
  const Scratch scratch;
  const Target file = file_target_on(scratch.file("image", 6ull << 30), 6ull << 30);
  QueueRig rig(file, 1);
  fill(rig.buffer(0), pattern(4096, 2));
  ASSERT_EQ(rig.serve(0, abi::op_write, (5ull << 30) >> 9, 8), 4096);
  EXPECT_EQ(contents(scratch.path("image"), 5ull << 30, 4096), pattern(4096, 2));
}

TEST_F(Queues, FindTheirDescriptorsWhateverTheirDepth) {
  for (const uint16_t queue_id : {0, 1, 7, 4095}) {
    EXPECT_EQ(descriptor_offset_bytes(queue_id), queue_id * 98304ull) << "with pages of 4096 bytes";
    QueueRig rig(null_, 2, queue_id);
    EXPECT_EQ(rig.serve(1, abi::op_read, 0, 8), 4096);
    EXPECT_EQ(rig.serve(0, abi::op_read, 0, 3), 3 * 512);
  }
}

TEST_F(Queues, ServeEveryDepthTheKernelAllows) {
  for (const uint16_t depth : {1, 2, 63, 128, 4096}) {
    QueueRig rig(null_, depth);
    ASSERT_EQ(rig.fetches().size(), depth);
    for (uint16_t tag = 0; tag < depth; tag++) rig.deliver(tag, abi::op_read, tag, 1);
    std::set<uint16_t> tags;
    for (const FakeDriver::Command& commit : rig.driver().take_commands(depth)) tags.insert(commit.io.tag);
    EXPECT_EQ(tags.size(), depth);
  }
}

TEST_F(Queues, CommitEveryRequestOnceUnderLoad) {
  constexpr uint16_t depth = 32;
  const Scratch scratch;
  const Target file = file_target_on(scratch.file("image", image_bytes), image_bytes);
  QueueRig rig(file, depth);
  std::mt19937 random(7);
  const auto deliver_random = [&](uint16_t tag) {
    const uint8_t operation = random() % 2 == 0 ? abi::op_read : abi::op_write;
    rig.deliver(tag, operation, random() % 1024, 1 + random() % 64);
  };
  for (uint16_t tag = 0; tag < depth; tag++) deliver_random(tag);
  for (int round = 0; round < 3000; round++) {
    const std::optional<FakeDriver::Command> commit = rig.driver().take_command();
    ASSERT_TRUE(commit);
    ASSERT_EQ(commit->operation, abi::io_commit_and_fetch_req);
    ASSERT_GT(commit->io.result, 0);
    deliver_random(commit->io.tag);
  }
  for (const FakeDriver::Command& commit : rig.driver().take_commands(depth)) EXPECT_GT(commit.io.result, 0);
  EXPECT_EQ(rig.driver().waiting_commands(), 0u);
  EXPECT_EQ(rig.queue().counters().reads + rig.queue().counters().writes, 3000u + depth);
}

TEST_F(Queues, EnterTheRingOncePerRequestAtDepthOne) {
  QueueRig rig(null_, 1);
  rig.serve(0, abi::op_read, 0, 8);
  const uint64_t before = rig.driver().submissions();
  for (int i = 0; i < 100; i++) rig.serve(0, abi::op_read, 0, 8);
  EXPECT_EQ(rig.driver().submissions() - before, 100u);
}

TEST_F(Queues, ReportFailedRequestsAndServeOn) {
  const Scratch scratch;
  TargetSpec spec = {
      .kind = TargetKind::file, .path = scratch.file("image", image_bytes), .size_bytes = image_bytes};
  spec.read_only = true;
  Target file;
  const char* step = "";
  file.ops = &file_target;
  ASSERT_EQ(file_target.open(spec, file, step), 0);
  QueueRig rig(file, 1);
  EXPECT_EQ(rig.serve(0, abi::op_write, 16, 8), -EROFS);
  EXPECT_EQ(rig.serve(0, abi::op_read, 16, 8), 4096);
  EXPECT_EQ(rig.serve(0, abi::op_read, image_bytes / 512, 8), -EIO) << "past the end of the image";
  ASSERT_EQ(rig.errors().size(), 2u);
  EXPECT_EQ(rig.errors()[0].error, EROFS);
  EXPECT_EQ(rig.errors()[0].operation, abi::op_write);
  EXPECT_EQ(rig.errors()[0].offset_bytes, 16u * 512);
  EXPECT_EQ(rig.errors()[0].length_bytes, 4096u);
  EXPECT_EQ(rig.errors()[1].error, EIO);
  EXPECT_EQ(rig.queue().counters().errors, 2u);
}

TEST_F(Queues, RefuseAnUnknownOperationWithoutCallingItAnError) {
  QueueRig rig(null_, 1);
  EXPECT_EQ(rig.serve(0, abi::op_zone_append, 0, 8), -EOPNOTSUPP);
  EXPECT_EQ(rig.queue().counters().errors, 0u);
  EXPECT_TRUE(rig.errors().empty());
}

}  // namespace
}  // namespace ublk
