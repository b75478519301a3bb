// The file target through a real ring on temporary files.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/uio.h>
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

TargetSpec file_spec(const std::string& path, uint64_t size_bytes = image_bytes) {
  return {.kind = TargetKind::file, .path = path, .size_bytes = size_bytes};
}

// Every case of the data path, with and without O_DIRECT.
class FileTarget : public ::testing::TestWithParam<bool> {
 protected:
  TargetSpec spec(uint64_t size_bytes = image_bytes) {
    TargetSpec spec = file_spec(scratch_.file("image", size_bytes), size_bytes);
    spec.direct = GetParam();
    return spec;
  }
  std::string path() const { return scratch_.path("image"); }

  const Scratch scratch_;
};

INSTANTIATE_TEST_SUITE_P(Target, FileTarget, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Direct" : "Buffered"; });

TEST_P(FileTarget, IsOpenedTheWayItWasAskedFor) {
  const TargetRig rig(spec());
  ASSERT_EQ(rig.open_result(), 0);
  EXPECT_EQ(rig.target().direct, GetParam()) << "needs a temporary directory that takes O_DIRECT";
  EXPECT_EQ(rig.target().size_bytes, image_bytes);
  EXPECT_TRUE(rig.target().fua);
}

TEST_P(FileTarget, ReadsWhatTheFileHolds) {
  const TargetSpec wanted = spec();
  const std::string bytes = pattern(3 * block_bytes, 1);
  overwrite(path(), 7 * block_bytes, bytes);
  TargetRig rig(wanted);
  EXPECT_EQ(rig.read(7 * block_bytes, bytes.size()), bytes);
}

TEST_P(FileTarget, WritesWhereItWasToldAndNowhereElse) {
  TargetRig rig(spec());
  const std::string bytes = pattern(2 * block_bytes, 2);
  ASSERT_EQ(rig.write(5 * block_bytes, bytes), static_cast<int64_t>(bytes.size()));
  EXPECT_EQ(rig.run(abi::op_flush, 0, 0), 0);
  EXPECT_EQ(contents(path(), 5 * block_bytes, bytes.size()), bytes);
  EXPECT_EQ(contents(path(), 4 * block_bytes, block_bytes), std::string(block_bytes, '\0'));
  EXPECT_EQ(contents(path(), 7 * block_bytes, block_bytes), std::string(block_bytes, '\0'));
}

TEST_P(FileTarget, ServesSingleSectors) {
  TargetRig rig(spec());
  const std::string bytes = pattern(512, 3);
  ASSERT_EQ(rig.write(512 * 9, bytes), 512);
  EXPECT_EQ(rig.read(512 * 9, 512), bytes);
  EXPECT_EQ(rig.read(512 * 8, 512), std::string(512, '\0'));
}

TEST_P(FileTarget, ServesTheFirstAndTheLastSector) {
  TargetRig rig(spec());
  const std::string bytes = pattern(512, 4);
  for (const uint64_t offset_bytes : {uint64_t{0}, image_bytes - 512}) {
    ASSERT_EQ(rig.write(offset_bytes, bytes), 512);
    EXPECT_EQ(rig.read(offset_bytes, 512), bytes);
  }
}

TEST_P(FileTarget, ServesTheLargestRequest) {
  TargetRig rig(spec(4 * TargetRig::buffer_bytes));
  const std::string bytes = pattern(TargetRig::buffer_bytes, 5);
  ASSERT_EQ(rig.write(512, bytes), static_cast<int64_t>(bytes.size()));
  EXPECT_EQ(rig.read(512, bytes.size()), bytes);
}

TEST_P(FileTarget, ReachesPastFourGibibytes) {
  constexpr uint64_t far_bytes = (5ull << 30) + 512;
  TargetRig rig(spec(6ull << 30));
  const std::string bytes = pattern(block_bytes, 6);
  ASSERT_EQ(rig.write(far_bytes, bytes), static_cast<int64_t>(bytes.size()));
  EXPECT_EQ(rig.read(far_bytes, bytes.size()), bytes);
  EXPECT_EQ(contents(path(), far_bytes, bytes.size()), bytes);
  EXPECT_EQ(rig.read(far_bytes - (4ull << 30), block_bytes), std::string(block_bytes, '\0'));
}

TEST_P(FileTarget, HonoursForcedUnitAccess) {
  TargetRig rig(spec());
  const std::string bytes = pattern(block_bytes, 7);
  ASSERT_EQ(rig.write(0, bytes, abi::io_f_fua), static_cast<int64_t>(bytes.size()));
  EXPECT_EQ(contents(path(), 0, bytes.size()), bytes);
}

TEST_P(FileTarget, AsksForDurabilityExactlyWhereItIsPromised) {
  const TargetSpec wanted = spec();
  EXPECT_EQ(TargetRig(wanted).entry(abi::op_write, abi::io_f_fua).rw_flags, RWF_DSYNC);
  EXPECT_EQ(TargetRig(wanted).entry(abi::op_write).rw_flags, 0);
  const io_uring_sqe flush = TargetRig(wanted).entry(abi::op_flush);
  EXPECT_EQ(flush.opcode, IORING_OP_FSYNC);
  EXPECT_EQ(flush.fsync_flags, uint32_t{IORING_FSYNC_DATASYNC});
  EXPECT_EQ(flush.off, 0u);
  EXPECT_EQ(flush.len, 0u) << "the whole file, not the request's range";
}

TEST_P(FileTarget, DiscardGivesSpaceBackAndReadsAsZeros) {
  TargetSpec wanted = spec();
  wanted.discard = true;
  TargetRig rig(wanted);
  ASSERT_EQ(rig.write(0, pattern(16 * block_bytes, 8)), static_cast<int64_t>(16 * block_bytes));
  ASSERT_EQ(rig.run(abi::op_flush, 0, 0), 0);
  ASSERT_EQ(allocated_bytes(path()), 16 * block_bytes);
  EXPECT_EQ(rig.run(abi::op_discard, 4 * block_bytes, 8 * block_bytes), 0);
  EXPECT_EQ(allocated_bytes(path()), 8 * block_bytes);
  EXPECT_EQ(rig.read(4 * block_bytes, 8 * block_bytes), std::string(8 * block_bytes, '\0'));
  EXPECT_EQ(rig.read(0, 4 * block_bytes), pattern(16 * block_bytes, 8).substr(0, 4 * block_bytes));
}

TEST_P(FileTarget, RefusesDiscardWhereItWasNotAskedFor) {
  TargetRig rig(spec());
  ASSERT_EQ(rig.write(0, pattern(block_bytes, 9)), static_cast<int64_t>(block_bytes));
  EXPECT_EQ(rig.run(abi::op_discard, 0, block_bytes), -EOPNOTSUPP);
  EXPECT_EQ(rig.read(0, block_bytes), pattern(block_bytes, 9));
}

TEST_P(FileTarget, WriteZeroesKeepsTheSpaceOfAThickImage) {
  TargetRig rig(spec());
  ASSERT_EQ(rig.write(0, pattern(8 * block_bytes, 10)), static_cast<int64_t>(8 * block_bytes));
  ASSERT_EQ(rig.run(abi::op_flush, 0, 0), 0);
  EXPECT_EQ(rig.run(abi::op_write_zeroes, block_bytes, 4 * block_bytes), 0);
  EXPECT_EQ(rig.read(block_bytes, 4 * block_bytes), std::string(4 * block_bytes, '\0'));
  EXPECT_EQ(allocated_bytes(path()), 8 * block_bytes);
}

TEST_P(FileTarget, WriteZeroesGivesTheSpaceOfAThinImageBackUnlessForbidden) {
  TargetSpec wanted = spec();
  wanted.discard = true;
  TargetRig rig(wanted);
  ASSERT_EQ(rig.write(0, pattern(8 * block_bytes, 11)), static_cast<int64_t>(8 * block_bytes));
  ASSERT_EQ(rig.run(abi::op_flush, 0, 0), 0);
  EXPECT_EQ(rig.run(abi::op_write_zeroes, 0, 4 * block_bytes, abi::io_f_nounmap), 0);
  EXPECT_EQ(allocated_bytes(path()), 8 * block_bytes);
  EXPECT_EQ(rig.run(abi::op_write_zeroes, 0, 4 * block_bytes), 0);
  EXPECT_EQ(allocated_bytes(path()), 4 * block_bytes);
  EXPECT_EQ(rig.read(0, 4 * block_bytes), std::string(4 * block_bytes, '\0'));
}

TEST_P(FileTarget, ZeroesAndDiscardsMoreThanABufferHolds) {
  constexpr uint64_t huge_bytes = (1ull << 31) - 512;
  TargetSpec wanted = spec(8ull << 30);
  wanted.discard = true;
  TargetRig rig(wanted);
  ASSERT_EQ(rig.write(4ull << 30, pattern(block_bytes, 12)), static_cast<int64_t>(block_bytes));
  EXPECT_EQ(rig.run(abi::op_discard, (4ull << 30) - 512, huge_bytes), 0);
  EXPECT_EQ(rig.read(4ull << 30, block_bytes), std::string(block_bytes, '\0'));
  EXPECT_EQ(rig.run(abi::op_write_zeroes, (4ull << 30) - 512, huge_bytes), 0);
}

TEST_P(FileTarget, NeverGrowsTheImage) {
  TargetSpec wanted = spec();
  wanted.discard = true;
  TargetRig rig(wanted);
  EXPECT_EQ(rig.run(abi::op_discard, image_bytes - block_bytes, 4 * block_bytes), 0);
  EXPECT_EQ(rig.run(abi::op_write_zeroes, image_bytes - block_bytes, 4 * block_bytes, abi::io_f_nounmap), 0);
  struct stat info = {};
  ASSERT_EQ(::stat(path().c_str(), &info), 0);
  EXPECT_EQ(static_cast<uint64_t>(info.st_size), image_bytes);
}

TEST_P(FileTarget, ReadOnlyServesReadsAndFlushesAndRefusesEveryChange) {
  TargetSpec wanted = spec();
  overwrite(path(), 0, pattern(block_bytes, 13));
  wanted.read_only = true;
  wanted.discard = true;
  TargetRig rig(wanted);
  ASSERT_EQ(rig.open_result(), 0);
  EXPECT_EQ(rig.read(0, block_bytes), pattern(block_bytes, 13));
  EXPECT_EQ(rig.run(abi::op_flush, 0, 0), 0);
  EXPECT_EQ(rig.write(0, pattern(block_bytes, 14)), -EROFS);
  EXPECT_EQ(rig.run(abi::op_discard, 0, block_bytes), -EROFS);
  EXPECT_EQ(rig.run(abi::op_write_zeroes, 0, block_bytes), -EROFS);
  EXPECT_EQ(contents(path(), 0, block_bytes), pattern(block_bytes, 13));
}

TEST_P(FileTarget, ReadingPastACutFileIsAnErrorNotShortData) {
  TargetRig rig(spec());
  ASSERT_EQ(::truncate(path().c_str(), 2 * block_bytes), 0);
  EXPECT_LT(rig.read_result(8 * block_bytes, block_bytes), 0);
  EXPECT_LT(rig.read_result(block_bytes, 2 * block_bytes), 0);
  ASSERT_EQ(::truncate(path().c_str(), 2 * block_bytes + 100), 0);
  EXPECT_LT(rig.read_result(2 * block_bytes, block_bytes), 0);
  EXPECT_EQ(rig.read(0, 2 * block_bytes), std::string(2 * block_bytes, '\0'));
}

TEST_P(FileTarget, RefusesOperationsItDoesNotKnow) {
  TargetRig rig(spec());
  for (const uint8_t operation :
       {abi::op_write_same, abi::op_zone_append, abi::op_report_zones, uint8_t{255}}) {
    EXPECT_EQ(rig.run(operation, 0, block_bytes), -EOPNOTSUPP) << unsigned{operation};
  }
}

TEST_P(FileTarget, FullDiskFailsTheWriteAndNothingElse) {
  const Scratch small(64 * block_bytes);
  TargetSpec wanted = file_spec(small.file("image", 1 << 20));
  wanted.direct = GetParam();
  TargetRig rig(wanted);
  ASSERT_EQ(rig.open_result(), 0);
  EXPECT_EQ(rig.write(0, pattern(48 * block_bytes, 15)), static_cast<int64_t>(48 * block_bytes));
  EXPECT_EQ(rig.write(48 * block_bytes, pattern(64 * block_bytes, 16)), -ENOSPC);
  EXPECT_EQ(rig.read(0, 48 * block_bytes), pattern(48 * block_bytes, 15));
  EXPECT_EQ(rig.run(abi::op_flush, 0, 0), 0);
}

TEST(FileTargetOpen, FallsBackToBufferedWhereTheFileSystemHasNoDirectIo) {
  const Scratch ram = Scratch::mounted("ramfs", "");
  TargetRig rig(file_spec(ram.file("image", image_bytes)));
  ASSERT_EQ(rig.open_result(), 0);
  EXPECT_FALSE(rig.target().direct);
  ASSERT_EQ(rig.write(512, pattern(512, 17)), 512);
  EXPECT_EQ(rig.read(512, 512), pattern(512, 17));
}

TEST(FileTargetOpen, FallsBackToBufferedWhereTheDiskHasLargerSectors) {
  const LargeSectorDisk disk;
  const std::string image = disk.file("image", image_bytes);
  TargetRig small_blocks(file_spec(image));
  ASSERT_EQ(small_blocks.open_result(), 0);
  EXPECT_FALSE(small_blocks.target().direct);
  EXPECT_EQ(small_blocks.write(512, pattern(512, 18)), 512);
  TargetSpec wanted = file_spec(image);
  wanted.logical_block_bytes = 4096;
  const TargetRig large_blocks(wanted);
  EXPECT_TRUE(large_blocks.target().direct);
}

TEST(FileTargetOpen, NamesWhatIsWrong) {
  const Scratch scratch;
  EXPECT_EQ(TargetRig(file_spec(scratch.path("missing"))).open_result(), -ENOENT);
  EXPECT_EQ(TargetRig(file_spec(scratch.path("."))).open_result(), -EINVAL);
  EXPECT_EQ(TargetRig(file_spec("/dev/null")).open_result(), -EINVAL);
  EXPECT_EQ(TargetRig(file_spec(scratch.file("short", image_bytes - 512))).open_result(), -ENODATA);
  EXPECT_STREQ(TargetRig(file_spec(scratch.path("missing"))).step(), "open the image");
}

TEST(FileTargetOpen, RefusesAPipeWithoutWaitingForItsOtherEnd) {
  const Scratch scratch;
  ASSERT_EQ(::mkfifo(scratch.path("pipe").c_str(), 0600), 0);
  TargetSpec spec = file_spec(scratch.path("pipe"));
  EXPECT_EQ(TargetRig(spec).open_result(), -EINVAL);
  spec.read_only = true;
  EXPECT_EQ(TargetRig(spec).open_result(), -EINVAL);
}

TEST(FileTargetOpen, TakesAnImageLargerThanTheDevice) {
  const Scratch scratch;
  const TargetRig rig(file_spec(scratch.file("image", 2 * image_bytes)));
  EXPECT_EQ(rig.open_result(), 0);
  EXPECT_EQ(rig.target().size_bytes, image_bytes);
}

TEST(FileTargetOpen, LeavesNoDescriptorBehind) {
  const Scratch scratch;
  const std::string image = scratch.file("image", image_bytes);
  const std::string cut = scratch.file("short", 512);
  const size_t before = open_file_count();
  { const TargetRig rig(file_spec(image)); }
  { const TargetRig rig(file_spec(cut)); }
  EXPECT_EQ(open_file_count(), before);
}

}  // namespace
}  // namespace ublk
