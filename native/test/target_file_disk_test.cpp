// The file target on block devices, and on file systems that lack a way to zero or to free a range.
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "abi.hpp"
#include "scratch.hpp"
#include "target_rig.hpp"

namespace ublk {
namespace {

constexpr uint64_t disk_bytes = 8 << 20;
constexpr uint64_t block_bytes = 4096;

TargetSpec spec_on(const std::string& path, uint64_t size_bytes = disk_bytes) {
  return {.kind = TargetKind::file, .path = path, .size_bytes = size_bytes};
}

// With and without O_DIRECT.
class FileTargetOnADisk : public ::testing::TestWithParam<bool> {
 protected:
  TargetSpec spec() const {
    TargetSpec spec = spec_on(disk_.device());
    spec.direct = GetParam();
    spec.discard = true;
    return spec;
  }
  const LoopDisk disk_{disk_bytes, 512};
};

INSTANTIATE_TEST_SUITE_P(Target, FileTargetOnADisk, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Direct" : "Buffered"; });

TEST_P(FileTargetOnADisk, ServesItToTheLastSector) {
  TargetRig rig(spec());
  ASSERT_EQ(rig.open_result(), 0);
  EXPECT_EQ(rig.target().direct, GetParam());
  EXPECT_TRUE(rig.target().discard);
  const std::string bytes = pattern(2 * block_bytes, 1);
  for (const uint64_t offset_bytes : {uint64_t{512}, disk_bytes - bytes.size()}) {
    ASSERT_EQ(rig.write(offset_bytes, bytes), static_cast<int64_t>(bytes.size()));
    EXPECT_EQ(rig.read(offset_bytes, bytes.size()), bytes);
  }
  EXPECT_EQ(rig.run(abi::op_flush, 0, 0), 0);
  EXPECT_EQ(contents(disk_.image(), 512, bytes.size()), bytes);
}

TEST_P(FileTargetOnADisk, DiscardReachesTheDisk) {
  TargetRig rig(spec());
  ASSERT_EQ(rig.write(0, pattern(64 * block_bytes, 2)), static_cast<int64_t>(64 * block_bytes));
  ASSERT_EQ(rig.run(abi::op_flush, 0, 0), 0);
  const uint64_t before_bytes = allocated_bytes(disk_.image());
  EXPECT_EQ(rig.run(abi::op_discard, 16 * block_bytes, 32 * block_bytes), 0);
  EXPECT_EQ(allocated_bytes(disk_.image()), before_bytes - 32 * block_bytes);
  EXPECT_EQ(rig.read(0, block_bytes), pattern(64 * block_bytes, 2).substr(0, block_bytes));
}

TEST_P(FileTargetOnADisk, ZeroesWithAndWithoutGivingSpaceBack) {
  TargetRig rig(spec());
  ASSERT_EQ(rig.write(0, pattern(8 * block_bytes, 3)), static_cast<int64_t>(8 * block_bytes));
  ASSERT_EQ(rig.run(abi::op_flush, 0, 0), 0);
  EXPECT_EQ(rig.run(abi::op_write_zeroes, 0, 2 * block_bytes, abi::io_f_nounmap), 0);
  EXPECT_EQ(rig.run(abi::op_write_zeroes, 4 * block_bytes, 2 * block_bytes), 0);
  EXPECT_EQ(rig.read(0, 2 * block_bytes), std::string(2 * block_bytes, '\0'));
  EXPECT_EQ(rig.read(2 * block_bytes, 2 * block_bytes),
            pattern(8 * block_bytes, 3).substr(2 * block_bytes, 2 * block_bytes));
  EXPECT_EQ(rig.read(4 * block_bytes, 2 * block_bytes), std::string(2 * block_bytes, '\0'));
}

TEST_P(FileTargetOnADisk, RefusesADeviceLargerThanTheDisk) {
  TargetSpec wanted = spec();
  wanted.size_bytes = disk_bytes + 512;
  EXPECT_EQ(TargetRig(wanted).open_result(), -ENODATA);
}

TEST(FileTargetOnALargeSectorDisk, ServesSmallBlocksThroughThePageCache) {
  const LoopDisk disk(disk_bytes, 4096);
  TargetSpec spec = spec_on(disk.device());
  spec.discard = true;
  TargetRig rig(spec);
  ASSERT_EQ(rig.open_result(), 0);
  EXPECT_FALSE(rig.target().direct);
  ASSERT_EQ(rig.write(0, pattern(2 * block_bytes, 4)), static_cast<int64_t>(2 * block_bytes));
  EXPECT_EQ(rig.run(abi::op_write_zeroes, 512, 1024), 0) << "less than a sector of the disk";
  EXPECT_EQ(rig.run(abi::op_discard, 2048, 512), 0);
  EXPECT_EQ(rig.read(512, 1024), std::string(1024, '\0'));
  EXPECT_EQ(rig.read(0, 512), pattern(2 * block_bytes, 4).substr(0, 512));
  EXPECT_EQ(rig.read(1536, 512), pattern(2 * block_bytes, 4).substr(1536, 512));
}

// tmpfs punches holes and knows no zeroed ranges.
TEST(FileTargetOnTmpfs, AThickImageIsZeroedByWriting) {
  const Scratch memory(16 << 20);
  const std::string path = memory.file("image", disk_bytes);
  TargetRig rig(spec_on(path));
  ASSERT_EQ(rig.write(0, pattern(128 * block_bytes, 5)), static_cast<int64_t>(128 * block_bytes));
  EXPECT_EQ(rig.run(abi::op_write_zeroes, 512, 100 * block_bytes), 0) << "longer than one write of zeros";
  EXPECT_EQ(rig.read(512, 100 * block_bytes), std::string(100 * block_bytes, '\0'));
  EXPECT_EQ(rig.read(0, 512), pattern(128 * block_bytes, 5).substr(0, 512));
  EXPECT_EQ(rig.read(512 + 100 * block_bytes, 512),
            pattern(128 * block_bytes, 5).substr(512 + 100 * block_bytes, 512));
  EXPECT_EQ(allocated_bytes(path), 128 * block_bytes);
}

TEST(FileTargetOnTmpfs, AThinImageIsZeroedByHoles) {
  const Scratch memory(16 << 20);
  TargetSpec spec = spec_on(memory.file("image", disk_bytes));
  spec.discard = true;
  TargetRig rig(spec);
  ASSERT_EQ(rig.write(0, pattern(8 * block_bytes, 6)), static_cast<int64_t>(8 * block_bytes));
  EXPECT_EQ(rig.run(abi::op_write_zeroes, 0, 4 * block_bytes), 0);
  EXPECT_EQ(allocated_bytes(spec.path), 4 * block_bytes);
  EXPECT_EQ(rig.run(abi::op_write_zeroes, 4 * block_bytes, 4 * block_bytes, abi::io_f_nounmap), 0);
  EXPECT_EQ(allocated_bytes(spec.path), 4 * block_bytes);
  EXPECT_EQ(rig.read(0, 8 * block_bytes), std::string(8 * block_bytes, '\0'));
}

TEST(FileTargetOnRamfs, OffersNoDiscardWhereTheFileSystemHasNoHoles) {
  const Scratch ram = Scratch::mounted("ramfs", "");
  TargetSpec spec = spec_on(ram.file("image", disk_bytes));
  spec.discard = true;
  TargetRig rig(spec);
  EXPECT_FALSE(rig.target().discard);
  ASSERT_EQ(rig.write(0, pattern(block_bytes, 7)), static_cast<int64_t>(block_bytes));
  EXPECT_EQ(rig.run(abi::op_write_zeroes, 0, 2048), 0);
  EXPECT_EQ(rig.read(0, block_bytes), std::string(2048, '\0') + pattern(block_bytes, 7).substr(2048));
}

TEST(FileTargetOnAFullDisk, GoesOnWhenThereIsSpaceAgain) {
  const Scratch small(64 * block_bytes);
  const std::string filler = small.file("filler", 0);
  TargetRig rig(spec_on(small.file("image", 1 << 20), 1 << 20));
  overwrite(filler, 0, pattern(32 * block_bytes, 8));
  EXPECT_EQ(rig.write(0, pattern(48 * block_bytes, 9)), -ENOSPC);
  ASSERT_EQ(::truncate(filler.c_str(), 0), 0);
  EXPECT_EQ(rig.write(0, pattern(48 * block_bytes, 9)), static_cast<int64_t>(48 * block_bytes));
  EXPECT_EQ(rig.read(0, 48 * block_bytes), pattern(48 * block_bytes, 9));
}

}  // namespace
}  // namespace ublk
