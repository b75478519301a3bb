// Copies of images, with and without queues that change them meanwhile.
#include "image_copy.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <random>
#include <thread>

#include "abi.hpp"
#include "clock.hpp"
#include "copy_barrier.hpp"
#include "copy_start.hpp"
#include "device_rig.hpp"
#include "queue_rig.hpp"
#include "scratch.hpp"
#include "wait_until.hpp"

namespace ublk {
namespace {

constexpr uint64_t chunk_bytes = CopyProgress::chunk_bytes;

class ImageCopyTest : public ::testing::Test {
 protected:
  static constexpr uint64_t image_bytes = 8 * chunk_bytes;

  CopySpec spec(uint64_t size_bytes = image_bytes) const {
    return {.source_path = scratch_.path("image"),
            .target_path = scratch_.path("copy"),
            .progress_path = scratch_.path("progress"),
            .size_bytes = size_bytes,
            .direct = true,
            .boot_id = "this boot"};
  }
  // An image with other bytes in every chunk, and an empty target.
  void prepare(uint64_t size_bytes = image_bytes) {
    scratch_.file("image", size_bytes);
    scratch_.file("copy", size_bytes);
    for (uint64_t at = 0; at < size_bytes; at += chunk_bytes) {
      const uint64_t length = std::min(chunk_bytes, size_bytes - at);
      overwrite(spec().source_path, at, std::string(length, static_cast<char>('A' + at / chunk_bytes % 26)));
    }
  }
  std::string image(uint64_t size_bytes = image_bytes) const {
    return contents(spec().source_path, 0, size_bytes);
  }
  std::string copied(uint64_t size_bytes = image_bytes) const {
    return contents(spec().target_path, 0, size_bytes);
  }
  static SharedCopy created(const CopySpec& spec) {
    auto copy = std::make_shared<ImageCopy>(spec);
    const char* step = "";
    EXPECT_EQ(copy->create(step), 0) << step;
    return copy;
  }
  static SharedCopy begun(const CopySpec& spec) {
    SharedCopy copy = created(spec);
    EXPECT_EQ(copy->begin(), 0);
    return copy;
  }
  static bool reaches(const SharedCopy& copy, CopyState state) {
    return wait_until([&] { return copy->status().state == state; });
  }

  const Scratch scratch_;
};

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

// A queue over the image, and copies which have not begun to run.
class CopyBarrierTest : public ImageCopyTest {
 protected:
  CopyBarrierTest() {
    prepare();
    target_ = file_target_on(spec().source_path, image_bytes);
    rig_ = std::make_unique<QueueRig>(target_, uint16_t{8}, Reasons{.gate = &gate_, .copies = &barrier_});
    gate_.set_queue_count(1);
    barrier_.connect([this] { rig_->queue().wake(); });
  }
  ~CopyBarrierTest() override { barrier_.disconnect(); }

  SharedCopy added(const CopySpec& spec) {
    EXPECT_EQ(gate_.close(monotonic_ns() + 3600 * ns_per_second, false), 0);
    rig_->queue().wake();
    EXPECT_EQ(gate_.wait_until_quiet(), 0);
    SharedCopy copy = begun(spec);
    barrier_.add(copy);
    EXPECT_TRUE(gate_.open());
    rig_->queue().wake();
    return copy;
  }
  void deliver(uint16_t tag, uint8_t operation, uint64_t chunk, uint32_t sectors = 8) {
    if (operation == abi::op_write) std::fill_n(rig_->buffer(tag), sectors * 512, std::byte{'!'});
    rig_->deliver(tag, operation, chunk * chunk_bytes / 512, sectors);
  }
  bool waits(uint32_t count) {
    return wait_until([&] { return rig_->queue().counters().waiting == count; });
  }

  Target target_;
  Gate gate_;
  CopyBarrier barrier_;
  std::unique_ptr<QueueRig> rig_;
};

TEST_F(CopyBarrierTest, AWriteWaitsForItsPieceWhoseOldBytesAreInTheCopy) {
  const std::string before = image();
  const SharedCopy copy = added(spec());
  deliver(1, abi::op_write, 6);
  ASSERT_TRUE(waits(1));
  EXPECT_EQ(image(), before);
  EXPECT_EQ(rig_->driver().waiting_commands(), 0u);
  ASSERT_EQ(copy->run(), 0);
  EXPECT_EQ(rig_->committed(1), 4096);
  ASSERT_TRUE(reaches(copy, CopyState::done));
  EXPECT_EQ(copied(), before);
  EXPECT_EQ(contents(spec().source_path, 6 * chunk_bytes, 4096), std::string(4096, '!'));
  EXPECT_EQ(rig_->queue().counters().waiting, 0u);
}

TEST_F(CopyBarrierTest, ReadsAndFlushesNeverWait) {
  const SharedCopy copy = added(spec());
  deliver(1, abi::op_write, 0);
  ASSERT_TRUE(waits(1));
  EXPECT_EQ(rig_->serve(2, abi::op_read, 0, 8), 4096);
  EXPECT_EQ(rig_->serve(3, abi::op_flush, 0, 0), 0);
  EXPECT_EQ(copy->cancel(), 0);
  EXPECT_EQ(rig_->committed(1), 4096);
}

TEST_F(CopyBarrierTest, WhatIsCopiedNeverWaits) {
  const SharedCopy copy = added(spec());
  ASSERT_EQ(copy->run(), 0);
  ASSERT_TRUE(reaches(copy, CopyState::done));
  EXPECT_EQ(rig_->serve(1, abi::op_write, 0, 8), 4096);
}

TEST_F(CopyBarrierTest, ZeroingAndADiscardWaitToo) {
  const std::string before = image();
  const SharedCopy copy = added(spec());
  deliver(1, abi::op_write_zeroes, 1, 2 * chunk_bytes / 512);
  deliver(2, abi::op_discard, 5, chunk_bytes / 512);
  ASSERT_TRUE(waits(2));
  EXPECT_EQ(image(), before);
  ASSERT_EQ(copy->run(), 0);
  const auto first = rig_->driver().take_command();
  const auto second = rig_->driver().take_command();
  EXPECT_TRUE(first.has_value() && second.has_value());
  ASSERT_TRUE(reaches(copy, CopyState::done));
  EXPECT_EQ(copied(), before);
}

TEST_F(CopyBarrierTest, AWriteWaitsForEveryCopyOfTheImage) {
  const std::string before = image();
  const SharedCopy first = added(spec());
  deliver(1, abi::op_write, 2);
  ASSERT_TRUE(waits(1));
  CopySpec another = spec();
  another.target_path = scratch_.file("copy-2", image_bytes);
  another.progress_path = scratch_.path("progress-2");
  const SharedCopy second = added(another);
  ASSERT_EQ(first->run(), 0);
  ASSERT_TRUE(reaches(first, CopyState::done));
  EXPECT_TRUE(waits(1)) << "the second copy has not got it";
  EXPECT_EQ(image(), before);
  ASSERT_EQ(second->run(), 0);
  EXPECT_EQ(rig_->committed(1), 4096);
  ASSERT_TRUE(reaches(second, CopyState::done));
  EXPECT_EQ(copied(), before);
  EXPECT_EQ(contents(another.target_path, 0, image_bytes), before);
}

TEST_F(CopyBarrierTest, ACopyThatFailsLetsWritesGo) {
  const Scratch small(4096);
  CopySpec full = spec();
  full.target_path = small.file("copy", image_bytes);
  const SharedCopy copy = added(full);
  deliver(1, abi::op_write, 7);
  ASSERT_TRUE(waits(1));
  ASSERT_EQ(copy->run(), 0);
  EXPECT_EQ(rig_->committed(1), 4096);
  EXPECT_TRUE(reaches(copy, CopyState::failed));
}

TEST_F(CopyBarrierTest, DrainLeavesWhatWaitsToTheNextServer) {
  const std::string before = image();
  const SharedCopy copy = added(spec());
  deliver(1, abi::op_write, 7);
  ASSERT_TRUE(waits(1));
  rig_->queue().drain();
  rig_->queue().join();
  EXPECT_EQ(rig_->driver().waiting_commands(), 0u);
  EXPECT_EQ(image(), before);
}

// What a race would do: all chunks are written to at random while they are copied.
TEST_F(CopyBarrierTest, WritesToEverythingAtAnyTimeNeverShowInTheCopy) {
  std::mt19937 random(1);
  for (int round = 0; round < 20; round++) {
    const std::string before = image();
    ASSERT_EQ(::truncate(spec().target_path.c_str(), 0), 0);
    ASSERT_EQ(::truncate(spec().target_path.c_str(), image_bytes), 0);
    const SharedCopy copy = added(spec());
    ASSERT_EQ(copy->run(), 0);
    for (int i = 0; i < 40; i++) {
      const uint64_t sector = random() % (image_bytes / 512 - 8) / 8 * 8;
      std::fill_n(rig_->buffer(3), 4096, static_cast<std::byte>(random()));
      EXPECT_EQ(rig_->serve(3, abi::op_write, sector, 8), 4096);
    }
    ASSERT_TRUE(reaches(copy, CopyState::done)) << copy->status().reason;
    ASSERT_EQ(copied(), before) << "round " << round;
  }
}

class CopyStart : public DeviceRig {
 protected:
  static constexpr uint64_t size_bytes = image_bytes;
  CopySpec copy_spec(const std::string& name) const {
    return {.source_path = image(),
            .target_path = scratch_.file(name, image_bytes),
            .progress_path = scratch_.path(name + "-progress"),
            .size_bytes = image_bytes,
            .direct = true,
            .boot_id = "this boot"};
  }
  static SharedCopy created(const CopySpec& spec) {
    auto copy = std::make_shared<ImageCopy>(spec);
    const char* step = "";
    EXPECT_EQ(copy->create(step), 0) << step;
    return copy;
  }
};

TEST_F(CopyStart, BeginsAtOneInstantAndThaws) {
  const SharedDevice disk = opened(spec());
  const SharedCopy first = created(copy_spec("first"));
  const SharedCopy second = created(copy_spec("second"));
  uint64_t frozen_ns = 0;
  const Status status = start_copies({{first, disk}, {second, disk}}, 10'000, frozen_ns);
  ASSERT_TRUE(status.ok()) << status.step << status.error;
  EXPECT_FALSE(disk->frozen());
  EXPECT_LT(frozen_ns, 100'000'000u);
  EXPECT_TRUE(wait_until([&] { return first->status().state == CopyState::done; }));
  EXPECT_TRUE(wait_until([&] { return second->status().state == CopyState::done; }));
  EXPECT_TRUE(disk->remove(control_).ok());
}

TEST_F(CopyStart, ThatCannotFreezeLeavesNoCopy) {
  const SharedDevice disk = opened(spec());
  const SharedCopy copy = created(copy_spec("copy"));
  disk->release();
  uint64_t frozen_ns = 0;
  EXPECT_EQ(start_copies({{copy, disk}}, 10'000, frozen_ns).error, -ESHUTDOWN);
  EXPECT_EQ(copy->status().state, CopyState::failed);
  EXPECT_TRUE(copy->ended());
}

TEST_F(CopyStart, ADeviceOpenedDuringACopyHoldsBackFromItsFirstRequest) {
  overwrite(image(), 0, std::string(4096, 'a'));
  const SharedCopy copy = created(copy_spec("copy"));
  ASSERT_EQ(copy->begin(), 0);
  DeviceSpec wanted = spec();
  wanted.copies = {copy};
  const SharedDevice disk = opened(std::move(wanted));
  abi::IoDesc write;
  write.op_flags = abi::op_write;
  write.nr_sectors = 8;
  driver_.deliver(0, 1, write);
  ASSERT_TRUE(wait_until([&] { return disk->counters().waiting == 1; }));
  EXPECT_EQ(contents(image(), 0, 4096), std::string(4096, 'a'));
  ASSERT_EQ(copy->run(), 0);
  EXPECT_EQ(driver_.take_command()->io.result, 4096);
  EXPECT_TRUE(wait_until([&] { return copy->status().state == CopyState::done; }));
  EXPECT_EQ(contents(scratch_.path("copy"), 0, 4096), std::string(4096, 'a'));
  EXPECT_TRUE(disk->remove(control_).ok());
}

}  // namespace
}  // namespace ublk
