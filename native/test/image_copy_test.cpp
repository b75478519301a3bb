// Copies of images that nobody changes.
#include "image_copy.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "image_copy_rig.hpp"

namespace ublk {
namespace {

using ImageCopyTest = ImageCopyRig;

TEST_F(ImageCopyTest, HasEveryByteOfTheImageAndIsDone) {
  prepare();
  const SharedCopy copy = begun(spec());
  EXPECT_EQ(copy->status().copied_bytes, 0u);
  ASSERT_EQ(copy->run(), 0);
  ASSERT_TRUE(reaches(copy, CopyState::done)) << copy->status().reason;
  EXPECT_EQ(copied(), image());
  EXPECT_EQ(copy->status().copied_bytes, image_bytes);
  EXPECT_TRUE(copy->ended());
}

TEST_F(ImageCopyTest, EndsInTheMiddleOfAChunkWhereTheImageDoes) {
  const uint64_t size_bytes = 2 * chunk_bytes + 1536;
  prepare(size_bytes);
  const SharedCopy copy = begun(spec(size_bytes));
  ASSERT_EQ(copy->run(), 0);
  ASSERT_TRUE(reaches(copy, CopyState::done)) << copy->status().reason;
  EXPECT_EQ(copied(size_bytes), image(size_bytes));
  EXPECT_EQ(copy->status().copied_bytes, size_bytes);
}

TEST_F(ImageCopyTest, LeavesHolesAsHoles) {
  scratch_.file("image", 1ull << 30);
  scratch_.file("copy", 1ull << 30);
  overwrite(spec().source_path, 5 * chunk_bytes + 8192, std::string(4096, 'x'));
  overwrite(spec().source_path, (1ull << 30) - 4096, std::string(4096, 'y'));
  const SharedCopy copy = begun(spec(1ull << 30));
  ASSERT_EQ(copy->run(), 0);
  ASSERT_TRUE(reaches(copy, CopyState::done)) << copy->status().reason;
  EXPECT_EQ(contents(spec().target_path, 5 * chunk_bytes, chunk_bytes),
            contents(spec().source_path, 5 * chunk_bytes, chunk_bytes));
  EXPECT_EQ(contents(spec().target_path, (1ull << 30) - 4096, 4096), std::string(4096, 'y'));
  EXPECT_LE(allocated_bytes(spec().target_path), 4 * 4096u);
}

TEST_F(ImageCopyTest, IsGoneOnWithByTheNextProcessWhereItWas) {
  prepare();
  const std::string before = image();
  {
    const SharedCopy killed = begun(spec());
    EXPECT_FALSE(killed->lets_change(0, 512));
  }
  // What it had copied may change; here that is pretended for the first chunk.
  CopyProgress progress;
  ASSERT_EQ(progress.open(spec().progress_path), 0);
  ASSERT_EQ(progress.add(0, 1), 0);
  overwrite(spec().target_path, 0, before.substr(0, chunk_bytes));
  overwrite(spec().source_path, 0, std::string(chunk_bytes, '!'));
  const auto next = std::make_shared<ImageCopy>(spec());
  ASSERT_EQ(next->resume(), 0);
  EXPECT_EQ(next->status().copied_bytes, chunk_bytes);
  EXPECT_TRUE(next->lets_change(0, chunk_bytes));
  EXPECT_FALSE(next->lets_change(chunk_bytes - 512, 1024));
  ASSERT_EQ(next->run(), 0);
  ASSERT_TRUE(reaches(next, CopyState::done)) << next->status().reason;
  EXPECT_EQ(copied(), before);
}

TEST_F(ImageCopyTest, ThatIsDoneStaysSo) {
  prepare();
  {
    const SharedCopy copy = begun(spec());
    ASSERT_EQ(copy->run(), 0);
    ASSERT_TRUE(reaches(copy, CopyState::done));
  }
  const auto next = std::make_shared<ImageCopy>(spec());
  ASSERT_EQ(next->resume(), 0);
  EXPECT_EQ(next->status().state, CopyState::done);
  EXPECT_TRUE(next->ended());
  EXPECT_EQ(next->run(), 0);
}

TEST_F(ImageCopyTest, OfAnotherBootHasFailed) {
  prepare();
  { const SharedCopy copy = begun(spec()); }
  CopySpec later = spec();
  later.boot_id = "the next boot";
  const auto next = std::make_shared<ImageCopy>(later);
  ASSERT_EQ(next->resume(), 0);
  ASSERT_EQ(next->run(), 0);
  ASSERT_TRUE(reaches(next, CopyState::failed));
  EXPECT_NE(next->status().reason.find("the machine has restarted"), std::string::npos);
  EXPECT_TRUE(next->ended());
}

TEST_F(ImageCopyTest, OfAnotherFileOfTheSamePathHasFailed) {
  prepare();
  { const SharedCopy copy = begun(spec()); }
  const std::string path = spec().source_path;
  ASSERT_EQ(::rename(path.c_str(), (path + "-old").c_str()), 0);
  scratch_.file("image", image_bytes);
  const auto next = std::make_shared<ImageCopy>(spec());
  ASSERT_EQ(next->resume(), 0);
  ASSERT_EQ(next->run(), 0);
  ASSERT_TRUE(reaches(next, CopyState::failed));
  EXPECT_NE(next->status().reason.find("another file"), std::string::npos);
}

TEST_F(ImageCopyTest, FailsWhenTheTargetIsFullAndHoldsNothingBack) {
  const Scratch small(4 * chunk_bytes);
  prepare();
  CopySpec full = spec();
  full.target_path = small.file("copy", image_bytes);
  const SharedCopy copy = begun(full);
  ASSERT_EQ(copy->run(), 0);
  ASSERT_TRUE(reaches(copy, CopyState::failed));
  EXPECT_NE(copy->status().reason.find("No space left"), std::string::npos) << copy->status().reason;
  EXPECT_TRUE(copy->lets_change(image_bytes - 512, 512));
  const auto next = std::make_shared<ImageCopy>(full);
  ASSERT_EQ(next->resume(), 0);
  EXPECT_EQ(next->status().state, CopyState::failed) << "the next process must not go on with it";
}

TEST_F(ImageCopyTest, ThatIsCancelledIsNotGoneOnWith) {
  prepare();
  const SharedCopy copy = begun(spec());
  EXPECT_FALSE(copy->lets_change(0, 512));
  EXPECT_EQ(copy->cancel(), 0);
  EXPECT_TRUE(copy->lets_change(0, 512));
  EXPECT_EQ(copy->run(), 0);
  EXPECT_EQ(copy->status().state, CopyState::failed);
  const auto next = std::make_shared<ImageCopy>(spec());
  ASSERT_EQ(next->resume(), 0);
  EXPECT_TRUE(next->ended());
}

TEST_F(ImageCopyTest, TakesUpNothingThatIsNoFileOfProgress) {
  prepare();
  const auto copy = std::make_shared<ImageCopy>(spec());
  EXPECT_EQ(copy->resume(), -ENOENT);
  scratch_.file("progress", 8192);
  EXPECT_EQ(copy->resume(), -EPROTO);
}

TEST_F(ImageCopyTest, HoldsBackOnlyWhatItCovers) {
  prepare();
  const SharedCopy copy = begun(spec(4 * chunk_bytes));
  EXPECT_TRUE(copy->lets_change(4 * chunk_bytes, chunk_bytes)) << "the device has grown since";
  EXPECT_FALSE(copy->lets_change(4 * chunk_bytes - 512, chunk_bytes));
}

}  // namespace
}  // namespace ublk
