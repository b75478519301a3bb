// A queue in each data mode: what its commands say, and how payload travels.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "queue_rig.hpp"
#include "scratch.hpp"
#include "target_rig.hpp"

namespace ublk {
namespace {

constexpr uint64_t image_bytes = 1 << 20;

// Where the driver of a real device has the payload of a tag's request.
off_t payload_position(uint16_t tag) {
  return static_cast<off_t>(abi::io_buf_offset + (uint64_t{tag} << abi::tag_off));
}

void put_payload(QueueRig& rig, uint16_t tag, const std::string& bytes) {
  EXPECT_EQ(::pwrite(rig.driver().char_fd(), bytes.data(), bytes.size(), payload_position(tag)),
            static_cast<ssize_t>(bytes.size()));
}

std::string payload(QueueRig& rig, uint16_t tag, size_t length_bytes) {
  std::string bytes(length_bytes, '?');
  EXPECT_EQ(::pread(rig.driver().char_fd(), bytes.data(), bytes.size(), payload_position(tag)),
            static_cast<ssize_t>(bytes.size()));
  return bytes;
}

// Takes every transfer in the ring, and says by which index it was to find the bytes.
int32_t seen_index = INT32_MIN;
std::byte* seen_buffer = nullptr;

int64_t note_transfer(const Target&, TargetQueue&, Request& request) {
  seen_index = request.buffer_index;
  seen_buffer = request.buffer;
  return static_cast<int64_t>(request.length_bytes);
}

const TargetOps noting_ops = {.name = "noting",
                              .open = nullptr,
                              .queue_io = note_transfer,
                              .complete_io = nullptr,
                              .transfers_in_ring = true};

class QueueModes : public ::testing::Test {
 protected:
  QueueModes() { noting_.ops = &noting_ops; }

  const Scratch scratch_;
  Target noting_;
};

TEST_F(QueueModes, GetDataNamesTheBufferBeforeAWriteIsServed) {
  const Target file = file_target_on(scratch_.file("image", image_bytes), image_bytes);
  QueueRig rig(file, 2, DataMode::get_data);
  const std::string bytes = pattern(8192, 1);
  rig.driver().post(0, 1, abi::io_res_need_get_data);
  EXPECT_EQ(rig.expect(abi::io_need_get_data, 1).io.addr, rig.fetches()[1].io.addr);
  std::memcpy(rig.buffer(1), bytes.data(), bytes.size());
  ASSERT_EQ(rig.serve(1, abi::op_write, 16, 16), 8192);
  EXPECT_EQ(contents(scratch_.path("image"), 16 * 512, 8192), bytes);
}

TEST_F(QueueModes, GetDataThatIsAbortedEndsTheTag) {
  QueueRig rig(noting_, 1, DataMode::get_data);
  rig.driver().post(0, 0, abi::io_res_need_get_data);
  rig.expect(abi::io_need_get_data, 0);
  rig.driver().abort(0, 0);
  EXPECT_TRUE(rig.wait_for_end());
}

TEST_F(QueueModes, UserCopyMovesBytesByTheCharDevice) {
  const Target file = file_target_on(scratch_.file("image", image_bytes), image_bytes);
  QueueRig rig(file, 4, DataMode::user_copy);
  EXPECT_EQ(rig.fetches()[3].io.addr, 0u) << "the driver refuses an address in this mode";
  const std::string bytes = pattern(8192, 2);
  put_payload(rig, 3, bytes);
  ASSERT_EQ(rig.serve(3, abi::op_write, 8, 16), 8192);
  EXPECT_EQ(contents(scratch_.path("image"), 8 * 512, 8192), bytes);
  ASSERT_EQ(rig.serve(0, abi::op_read, 8, 16), 8192);
  EXPECT_EQ(payload(rig, 0, 8192), bytes);
}

TEST_F(QueueModes, UserCopyUsesOneBufferForRequestsThatFollowEachOther) {
  QueueRig rig(noting_, 8, DataMode::user_copy);
  put_payload(rig, 7, std::string(1 << 20, 'x'));
  ASSERT_EQ(rig.serve(5, abi::op_read, 0, 8), 4096);
  std::byte* const first = seen_buffer;
  ASSERT_EQ(rig.serve(2, abi::op_read, 0, 8), 4096);
  EXPECT_EQ(seen_buffer, first);
  EXPECT_NE(first, nullptr);
}

TEST_F(QueueModes, UserCopyThatFailsIsAnErrorAndGivesItsBufferBack) {
  const Target null = null_target_of(1 << 20);
  QueueRig rig(null, 1, DataMode::user_copy);
  for (int i = 0; i < 3; i++) EXPECT_LT(rig.serve(0, abi::op_write, 0, 8), 0) << "the payload is not there";
  put_payload(rig, 0, std::string(4096, 'x'));
  EXPECT_EQ(rig.serve(0, abi::op_write, 0, 8), 4096);
  EXPECT_EQ(rig.serve(0, abi::op_read, 0, 8), 4096);
  EXPECT_EQ(payload(rig, 0, 4096), std::string(4096, '\0')) << "not what was written through the buffer";
}

TEST_F(QueueModes, UserCopyTakesMemoryStraightFromItsMapping) {
  TargetSpec spec = {.kind = TargetKind::memory, .path = "", .size_bytes = image_bytes};
  Target memory;
  const char* step = "";
  memory.ops = &memory_target;
  ASSERT_EQ(memory_target.open(spec, memory, step), 0);
  QueueRig rig(memory, 2, DataMode::user_copy);
  const std::string bytes = pattern(4096, 3);
  put_payload(rig, 1, bytes);
  ASSERT_EQ(rig.serve(1, abi::op_write, 8, 8), 4096);
  EXPECT_EQ(std::memcmp(memory.memory.data() + 4096, bytes.data(), 4096), 0);
  ASSERT_EQ(rig.serve(0, abi::op_read, 8, 8), 4096);
  EXPECT_EQ(payload(rig, 0, 4096), bytes);
}

TEST_F(QueueModes, ZeroCopyRegistersServesUnregistersAndCommitsInThisOrder) {
  QueueRig rig(noting_, 4, DataMode::zero_copy);
  EXPECT_EQ(rig.fetches()[2].io.addr, 0u);
  rig.deliver(2, abi::op_read, 0, 8);
  EXPECT_EQ(rig.expect(abi::io_register_io_buf, 2).io.addr, 2u);
  EXPECT_EQ(rig.expect(abi::io_unregister_io_buf, 2).io.addr, 2u);
  EXPECT_EQ(rig.committed(2), 4096);
  EXPECT_EQ(seen_index, 2);
  EXPECT_EQ(seen_buffer, nullptr);
}

TEST_F(QueueModes, ZeroCopyLeavesRequestsWithoutPayloadAlone) {
  QueueRig rig(noting_, 1, DataMode::zero_copy);
  EXPECT_EQ(rig.serve(0, abi::op_discard, 0, 8), 4096);
}

TEST_F(QueueModes, ZeroCopyTriesAgainWhenMemoryWasShort) {
  QueueRig rig(noting_, 1, DataMode::zero_copy);
  rig.driver().refuse_registration(-ENOMEM);
  rig.driver().refuse_registration(-ENOMEM);
  rig.deliver(0, abi::op_write, 0, 8);
  for (int i = 0; i < 3; i++) rig.expect(abi::io_register_io_buf, 0);
  rig.expect(abi::io_unregister_io_buf, 0);
  EXPECT_EQ(rig.committed(0), 4096);
  EXPECT_TRUE(rig.errors().empty());
}

TEST_F(QueueModes, ZeroCopyUnregistersNothingThatWasNotRegistered) {
  QueueRig rig(noting_, 1, DataMode::zero_copy);
  rig.driver().refuse_registration(-EINVAL);
  rig.deliver(0, abi::op_write, 0, 8);
  rig.expect(abi::io_register_io_buf, 0);
  EXPECT_EQ(rig.committed(0), -EINVAL);
}

TEST_F(QueueModes, ADrainedQueueFinishesARequestWhoseRegistrationIsOnItsWay) {
  QueueRig rig(noting_, 1, DataMode::zero_copy);
  rig.driver().refuse_registration(-ENOMEM);
  rig.deliver(0, abi::op_write, 0, 8);
  rig.expect(abi::io_register_io_buf, 0);
  rig.queue().drain();
  rig.queue().join();
  rig.expect(abi::io_register_io_buf, 0);
  rig.expect(abi::io_unregister_io_buf, 0);
  EXPECT_EQ(rig.committed(0), 4096);
}

TEST_F(QueueModes, AutomaticZeroCopyNamesItsIndexAndLeavesTheRestToTheKernel) {
  QueueRig rig(noting_, 4, DataMode::auto_zero_copy);
  const uint64_t fallback = uint64_t{abi::auto_buf_reg_fallback} << 16;
  EXPECT_EQ(rig.fetches()[3].sqe_addr, 3 | fallback);
  EXPECT_EQ(rig.fetches()[3].io.addr, 0u);
  rig.deliver(3, abi::op_write, 0, 8);
  const FakeDriver::Command commit = rig.expect(abi::io_commit_and_fetch_req, 3);
  EXPECT_EQ(commit.io.result, 4096);
  EXPECT_EQ(commit.sqe_addr, 3 | fallback);
  EXPECT_EQ(seen_index, 3);
}

TEST_F(QueueModes, AutomaticZeroCopyRegistersWhatTheKernelCouldNot) {
  QueueRig rig(noting_, 1, DataMode::auto_zero_copy);
  rig.deliver(0, abi::op_write, 0, 8, abi::io_f_need_reg_buf);
  rig.expect(abi::io_register_io_buf, 0);
  rig.expect(abi::io_unregister_io_buf, 0);
  EXPECT_EQ(rig.committed(0), 4096);
  EXPECT_EQ(rig.serve(0, abi::op_write, 0, 8), 4096) << "the next one is the kernel's again";
}

TEST_F(QueueModes, NoPageOfABufferIsThereBeforeARequestNeedsIt) {
  const Target null = null_target_of(1 << 20);
  QueueRig rig(null, 8, DataMode::copy);
  const auto resident = [&](uint16_t tag) {
    std::vector<unsigned char> pages(QueueRig::max_io_bytes / 4096);
    EXPECT_EQ(::mincore(rig.buffer(tag), QueueRig::max_io_bytes, pages.data()), 0);
    size_t count = 0;
    for (const unsigned char page : pages) count += page & 1;
    return count;
  };
  for (uint16_t tag = 0; tag < 8; tag++) EXPECT_EQ(resident(tag), 0u) << tag;
  *rig.buffer(4) = std::byte{1};
  EXPECT_EQ(resident(4), 1u);
}

}  // namespace
}  // namespace ublk
