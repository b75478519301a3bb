// Whole image files on real file systems: xfs shares blocks, ext4 does not, and tmpfs has no list of extents.
#include "image_files.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fiemap.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "open_files.hpp"
#include "scratch.hpp"

namespace ublk {
namespace {

constexpr uint64_t mebibyte = 1 << 20;
constexpr uint64_t block_bytes = 4096;
constexpr FileRange whole{0, UINT64_MAX};

bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

std::string block_of(char letter) {
  return std::string(block_bytes, letter);
}

// Each piece as `offset+length` in blocks.
std::string describe(const std::vector<FileRange>& ranges) {
  std::string text;
  for (const FileRange& range : ranges) {
    text += std::to_string(range.offset_bytes / block_bytes) + "+" +
            std::to_string(range.length_bytes / block_bytes) + " ";
  }
  return text;
}

Page<Extent> extents_of(const std::string& path, FileRange range = whole) {
  Page<Extent> page;
  const Status status = read_extents(path, range, page);
  EXPECT_EQ(status.error, 0) << status.step;
  return page;
}

Page<FileRange> data_of(const std::string& path, FileRange range = whole) {
  Page<FileRange> page;
  const Status status = read_data_ranges(path, range, page);
  EXPECT_EQ(status.error, 0) << status.step;
  return page;
}

void preallocate(const std::string& path, uint64_t length_bytes) {
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_EQ(::fallocate(file.get(), 0, 0, static_cast<off_t>(length_bytes)), 0);
}

TEST(ImageFiles, ACloneHasTheBytesAndSharesTheBlocks) {
  const ReflinkDisk disk;
  const std::string source = disk.file("source", mebibyte);
  overwrite(source, 8 * block_bytes, block_of('a'));
  const std::string clone = disk.path("clone");
  ASSERT_EQ(clone_file(source, clone).error, 0);

  EXPECT_EQ(contents(clone, 0, mebibyte), contents(source, 0, mebibyte));
  struct stat info = {};
  ASSERT_EQ(::stat(clone.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  const auto of_source = extents_of(source).entries;
  const auto of_clone = extents_of(clone).entries;
  ASSERT_EQ(of_source.size(), 1U);
  ASSERT_EQ(of_clone.size(), 1U);
  EXPECT_EQ(of_clone[0].logical_bytes, 8 * block_bytes);
  EXPECT_EQ(of_clone[0].physical_bytes, of_source[0].physical_bytes);
  EXPECT_NE(of_clone[0].flags & FIEMAP_EXTENT_SHARED, 0U);
}

TEST(ImageFiles, WritingToTheSourceOfACloneMovesTheBlock) {
  const ReflinkDisk disk;
  const std::string source = disk.file("source", mebibyte);
  overwrite(source, 0, block_of('a') + block_of('b'));
  const std::string clone = disk.path("clone");
  ASSERT_EQ(clone_file(source, clone).error, 0);
  overwrite(source, block_bytes, block_of('c'));
  EXPECT_EQ(contents(clone, 0, 2 * block_bytes), block_of('a') + block_of('b'));
  EXPECT_NE(extents_of(source, {block_bytes, block_bytes}).entries.back().physical_bytes,
            extents_of(clone, {block_bytes, block_bytes}).entries.back().physical_bytes + block_bytes);
}

TEST(ImageFiles, AFileSystemWithoutReflinksRefusesACloneAndLeavesNothing) {
  const LargeSectorDisk disk;
  const std::string source = disk.file("source", mebibyte);
  const size_t open_before = open_file_count();
  EXPECT_EQ(clone_file(source, disk.path("clone")).error, -EOPNOTSUPP);
  EXPECT_FALSE(exists(disk.path("clone")));
  EXPECT_EQ(open_file_count(), open_before);
}

TEST(ImageFiles, TwoFileSystemsCannotShare) {
  const ReflinkDisk one;
  const ReflinkDisk other;
  EXPECT_EQ(clone_file(one.file("source", mebibyte), other.path("clone")).error, -EOPNOTSUPP);
  EXPECT_FALSE(exists(other.path("clone")));
}

TEST(ImageFiles, ACloneTakesNothingThatExists) {
  const ReflinkDisk disk;
  const std::string source = disk.file("source", mebibyte);
  const std::string taken = disk.file("taken", block_bytes);
  overwrite(taken, 0, block_of('x'));
  const Status status = clone_file(source, taken);
  EXPECT_EQ(status.error, -EEXIST);
  EXPECT_EQ(status.step, "OPEN_TARGET");
  EXPECT_EQ(contents(taken, 0, block_bytes), block_of('x'));
}

TEST(ImageFiles, AMissingSourceMakesNoTarget) {
  const Scratch scratch;
  const Status status = clone_file(scratch.path("missing"), scratch.path("clone"));
  EXPECT_EQ(status.error, -ENOENT);
  EXPECT_EQ(status.step, "OPEN_SOURCE");
  EXPECT_FALSE(exists(scratch.path("clone")));
}

TEST(ImageFiles, ExtentsTellWrittenFromUnwrittenAndHoles) {
  const LargeSectorDisk disk;
  const std::string path = disk.file("image", mebibyte);
  preallocate(path, 64 * block_bytes);
  overwrite(path, 16 * block_bytes, block_of('a'));
  uint64_t written_bytes = 0;
  uint64_t unwritten_bytes = 0;
  for (const Extent& extent : extents_of(path).entries) {
    const bool is_unwritten = (extent.flags & FIEMAP_EXTENT_UNWRITTEN) != 0;
    (is_unwritten ? unwritten_bytes : written_bytes) += extent.length_bytes;
    if (is_unwritten) continue;
    EXPECT_EQ(extent.logical_bytes, 16 * block_bytes);
  }
  EXPECT_EQ(written_bytes, block_bytes);
  EXPECT_EQ(unwritten_bytes, 63 * block_bytes);
}

TEST(ImageFiles, PeekingAtExtentsWritesNothingOut) {
  const ReflinkDisk disk;
  const std::string source = disk.file("source", mebibyte);
  overwrite(source, 0, block_of('a'));
  const std::string clone = disk.path("clone");
  ASSERT_EQ(clone_file(source, clone).error, 0);
  const UniqueFd file(::open(clone.c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_EQ(::pwrite(file.get(), block_of('b').data(), block_bytes, 0), static_cast<ssize_t>(block_bytes));
  Page<Extent> dirty;
  ASSERT_EQ(peek_extents(clone, whole, dirty).error, 0);
  ASSERT_EQ(dirty.entries.size(), 1U);
  EXPECT_EQ(dirty.entries[0].physical_bytes, extents_of(source).entries[0].physical_bytes);
  EXPECT_NE(extents_of(clone).entries[0].physical_bytes, dirty.entries[0].physical_bytes);
}

TEST(ImageFiles, ExtentsOfATmpfsAreUnsupported) {
  const Scratch scratch(mebibyte);
  Page<Extent> page;
  EXPECT_EQ(read_extents(scratch.file("image", block_bytes), whole, page).error, -EOPNOTSUPP);
}

TEST(ImageFiles, ExtentsOfNoRangeAreNone) {
  const Scratch scratch;
  const std::string path = scratch.file("image", block_bytes);
  overwrite(path, 0, block_of('a'));
  const Page<Extent> page = extents_of(path, {0, 0});
  EXPECT_TRUE(page.entries.empty());
  EXPECT_FALSE(page.more);
}

TEST(ImageFiles, DataIsFoundOnATmpfs) {
  const Scratch scratch(4 * mebibyte);
  const std::string path = scratch.file("image", 2 * mebibyte);
  overwrite(path, 3 * block_bytes, block_of('a'));
  overwrite(path, 100 * block_bytes, block_of('b') + block_of('c'));
  EXPECT_EQ(describe(data_of(path).entries), "3+1 100+2 ");
  EXPECT_EQ(describe(data_of(path, {4 * block_bytes, 97 * block_bytes}).entries), "100+1 ");
  EXPECT_EQ(describe(data_of(path, {102 * block_bytes, mebibyte}).entries), "");
}

TEST(ImageFiles, DataThatWasOnlyPreallocatedIsNone) {
  const LargeSectorDisk disk;
  const std::string path = disk.file("image", mebibyte);
  preallocate(path, mebibyte);
  overwrite(path, 8 * block_bytes, block_of('a'));
  EXPECT_EQ(describe(data_of(path).entries), "8+1 ");
}

// More pieces than one page has: every other block.
TEST(ImageFiles, LongListsComeInPages) {
  const LargeSectorDisk disk;
  const uint64_t piece_count = 1500;
  const std::string path = disk.file("image", 2 * piece_count * block_bytes);
  {
    const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    for (uint64_t i = 0; i < piece_count; i++) {
      const off_t place = static_cast<off_t>(2 * i * block_bytes);
      ASSERT_EQ(::pwrite(file.get(), block_of('a').data(), block_bytes, place), ssize_t{block_bytes});
    }
  }
  const Page<FileRange> first = data_of(path);
  ASSERT_TRUE(first.more);
  const Page<FileRange> second = data_of(path, {first.next_bytes, UINT64_MAX});
  EXPECT_FALSE(second.more);
  EXPECT_EQ(first.entries.size() + second.entries.size(), piece_count);
  EXPECT_EQ(second.entries.front().offset_bytes, first.entries.back().offset_bytes + 2 * block_bytes);

  const Page<Extent> first_extents = extents_of(path);
  ASSERT_TRUE(first_extents.more);
  const Page<Extent> second_extents = extents_of(path, {first_extents.next_bytes, UINT64_MAX});
  EXPECT_FALSE(second_extents.more);
  EXPECT_EQ(first_extents.entries.size() + second_extents.entries.size(), piece_count);
}

}  // namespace
}  // namespace ublk
