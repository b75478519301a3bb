// The memory target on anonymous memory and on files of a tmpfs.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "abi.hpp"
#include "open_files.hpp"
#include "scratch.hpp"
#include "target_rig.hpp"

namespace ublk {
namespace {

constexpr uint64_t image_bytes = 1 << 20;
constexpr uint64_t block_bytes = 4096;

TargetSpec memory_spec(const std::string& path, uint64_t size_bytes = image_bytes) {
  return {.kind = TargetKind::memory, .path = path, .size_bytes = size_bytes};
}

class MemoryTarget : public ::testing::Test {
 protected:
  MemoryTarget() : scratch_(64 << 20) {}
  std::string image(uint64_t size_bytes = image_bytes) { return scratch_.file("image", size_bytes); }

  const Scratch scratch_;
};

TEST_F(MemoryTarget, ReadsBackWhatWasWrittenInAnonymousMemory) {
  TargetRig rig(memory_spec(""));
  ASSERT_EQ(rig.open_result(), 0);
  const std::string bytes = pattern(3 * block_bytes, 1);
  EXPECT_EQ(rig.read(block_bytes, bytes.size()), std::string(bytes.size(), '\0'));
  ASSERT_EQ(rig.write(512, bytes), static_cast<int64_t>(bytes.size()));
  EXPECT_EQ(rig.read(512, bytes.size()), bytes);
  EXPECT_EQ(rig.read(0, 512), std::string(512, '\0'));
}

TEST_F(MemoryTarget, ServesTheLastSector) {
  TargetRig rig(memory_spec(image()));
  ASSERT_EQ(rig.write(image_bytes - 512, pattern(512, 2)), 512);
  EXPECT_EQ(rig.read(image_bytes - 512, 512), pattern(512, 2));
}

TEST_F(MemoryTarget, BytesOutliveTheTarget) {
  const std::string path = image();
  { EXPECT_EQ(TargetRig(memory_spec(path)).write(block_bytes, pattern(512, 3)), 512); }
  EXPECT_EQ(contents(path, block_bytes, 512), pattern(512, 3));
  EXPECT_EQ(TargetRig(memory_spec(path)).read(block_bytes, 512), pattern(512, 3));
}

TEST_F(MemoryTarget, ReachesPastFourGibibytes) {
  constexpr uint64_t far_bytes = (5ull << 30) + 512;
  TargetRig rig(memory_spec(image(6ull << 30), 6ull << 30));
  ASSERT_EQ(rig.open_result(), 0);
  ASSERT_EQ(rig.write(far_bytes, pattern(block_bytes, 4)), static_cast<int64_t>(block_bytes));
  EXPECT_EQ(rig.read(far_bytes, block_bytes), pattern(block_bytes, 4));
  EXPECT_EQ(rig.read(far_bytes - (4ull << 30), 512), std::string(512, '\0'));
}

TEST_F(MemoryTarget, FlushIsASuccess) {
  TargetRig rig(memory_spec(""));
  EXPECT_EQ(rig.run(abi::op_flush, 0, 0), 0);
}

TEST_F(MemoryTarget, DiscardGivesSpaceBackAndReadsAsZeros) {
  TargetSpec spec = memory_spec(image());
  spec.discard = true;
  TargetRig rig(spec);
  ASSERT_EQ(rig.write(0, pattern(16 * block_bytes, 5)), static_cast<int64_t>(16 * block_bytes));
  ASSERT_EQ(allocated_bytes(spec.path), 16 * block_bytes);
  EXPECT_EQ(rig.run(abi::op_discard, 4 * block_bytes, 8 * block_bytes), 0);
  EXPECT_EQ(allocated_bytes(spec.path), 8 * block_bytes);
  EXPECT_EQ(rig.read(4 * block_bytes, 8 * block_bytes), std::string(8 * block_bytes, '\0'));
  EXPECT_EQ(rig.read(0, 4 * block_bytes), pattern(16 * block_bytes, 5).substr(0, 4 * block_bytes));
}

TEST_F(MemoryTarget, DiscardOfPartOfAPageZeroesJustThat) {
  TargetSpec spec = memory_spec(image());
  spec.discard = true;
  TargetRig rig(spec);
  ASSERT_EQ(rig.write(0, pattern(block_bytes, 6)), static_cast<int64_t>(block_bytes));
  EXPECT_EQ(rig.run(abi::op_discard, 512, 1024), 0);
  EXPECT_EQ(rig.read(512, 1024), std::string(1024, '\0'));
  EXPECT_EQ(rig.read(0, 512), pattern(block_bytes, 6).substr(0, 512));
  EXPECT_EQ(rig.read(1536, 512), pattern(block_bytes, 6).substr(1536, 512));
}

TEST_F(MemoryTarget, RefusesDiscardWhereItWasNotAskedFor) {
  TargetRig rig(memory_spec(image()));
  EXPECT_EQ(rig.run(abi::op_discard, 0, block_bytes), -EOPNOTSUPP);
}

TEST_F(MemoryTarget, WriteZeroesKeepsPagesUnlessDiscardIsOnAndUnmappingAllowed) {
  TargetSpec spec = memory_spec(image());
  for (const bool discard : {false, true}) {
    spec.discard = discard;
    TargetRig rig(spec);
    ASSERT_EQ(rig.write(0, pattern(8 * block_bytes, 7)), static_cast<int64_t>(8 * block_bytes));
    EXPECT_EQ(rig.run(abi::op_write_zeroes, 0, 4 * block_bytes, discard ? abi::io_f_nounmap : 0), 0);
    EXPECT_EQ(rig.read(0, 4 * block_bytes), std::string(4 * block_bytes, '\0'));
    EXPECT_EQ(allocated_bytes(spec.path), 8 * block_bytes);
  }
  TargetRig rig(spec);
  EXPECT_EQ(rig.run(abi::op_write_zeroes, 0, 4 * block_bytes), 0);
  EXPECT_EQ(allocated_bytes(spec.path), 4 * block_bytes);
}

TEST_F(MemoryTarget, ReadOnlyServesReadsAndRefusesEveryChange) {
  TargetSpec spec = memory_spec(image());
  overwrite(spec.path, 0, pattern(512, 8));
  spec.read_only = true;
  spec.discard = true;
  TargetRig rig(spec);
  ASSERT_EQ(rig.open_result(), 0);
  EXPECT_EQ(rig.read(0, 512), pattern(512, 8));
  EXPECT_EQ(rig.run(abi::op_flush, 0, 0), 0);
  EXPECT_EQ(rig.write(0, pattern(512, 9)), -EROFS);
  EXPECT_EQ(rig.run(abi::op_discard, 0, block_bytes), -EROFS);
  EXPECT_EQ(rig.run(abi::op_write_zeroes, 0, block_bytes), -EROFS);
  EXPECT_EQ(contents(spec.path, 0, 512), pattern(512, 8));
}

TEST_F(MemoryTarget, AFileCutShortUnderItFailsRequestsInsteadOfTheProcess) {
  const std::string path = image();
  TargetRig rig(memory_spec(path));
  ASSERT_EQ(rig.write(0, pattern(block_bytes, 10)), static_cast<int64_t>(block_bytes));
  ASSERT_EQ(::truncate(path.c_str(), block_bytes), 0);
  EXPECT_LT(rig.read_result(8 * block_bytes, block_bytes), 0);
  EXPECT_LT(rig.write(8 * block_bytes, pattern(block_bytes, 11)), 0);
  EXPECT_LT(rig.run(abi::op_write_zeroes, 8 * block_bytes, block_bytes), 0);
  EXPECT_LT(rig.read_result(0, 2 * block_bytes), 0);
  EXPECT_EQ(rig.read(0, block_bytes), pattern(block_bytes, 10));
}

TEST_F(MemoryTarget, AFullTmpfsFailsTheWriteAndNothingElse) {
  const Scratch small(64 * block_bytes);
  TargetRig rig(memory_spec(small.file("image", image_bytes)));
  ASSERT_EQ(rig.write(0, pattern(48 * block_bytes, 12)), static_cast<int64_t>(48 * block_bytes));
  EXPECT_EQ(rig.write(48 * block_bytes, pattern(64 * block_bytes, 13)), -ENOSPC);
  EXPECT_EQ(rig.read(0, 48 * block_bytes), pattern(48 * block_bytes, 12));
}
TEST_F(MemoryTarget, RefusesOperationsItDoesNotKnow) {
  TargetRig rig(memory_spec(""));
  for (const uint8_t operation :
       {abi::op_write_same, abi::op_zone_append, abi::op_report_zones, uint8_t{255}}) {
    EXPECT_EQ(rig.run(operation, 0, block_bytes), -EOPNOTSUPP) << unsigned{operation};
  }
}

TEST_F(MemoryTarget, NamesWhatIsWrong) {
  const Scratch on_disk;
  EXPECT_EQ(TargetRig(memory_spec(scratch_.path("missing"))).open_result(), -ENOENT);
  EXPECT_EQ(TargetRig(memory_spec(scratch_.path("."))).open_result(), -EINVAL);
  EXPECT_EQ(TargetRig(memory_spec("/dev/null")).open_result(), -EINVAL);
  EXPECT_EQ(TargetRig(memory_spec(image(512))).open_result(), -ENODATA);
  EXPECT_EQ(TargetRig(memory_spec(on_disk.file("image", image_bytes))).open_result(), -EMEDIUMTYPE)
      << "a file on a disk is not memory";
}

TEST_F(MemoryTarget, RefusesAPipeWithoutWaitingForItsOtherEnd) {
  ASSERT_EQ(::mkfifo(scratch_.path("pipe").c_str(), 0600), 0);
  TargetSpec spec = memory_spec(scratch_.path("pipe"));
  spec.read_only = true;
  EXPECT_EQ(TargetRig(spec).open_result(), -EINVAL);
}

TEST_F(MemoryTarget, LeavesNoDescriptorBehind) {
  const std::string path = image();
  const size_t before = open_file_count();
  { const TargetRig rig(memory_spec(path)); }
  { const TargetRig rig(memory_spec("")); }
  { const TargetRig rig(memory_spec(path, 2 * image_bytes)); }
  EXPECT_EQ(open_file_count(), before);
}

}  // namespace
}  // namespace ublk
