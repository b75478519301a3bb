// Copies of images with queues that change them meanwhile.
#include "copy_barrier.hpp"

#include <gtest/gtest.h>

#include <random>

#include "abi.hpp"
#include "clock.hpp"
#include "image_copy_rig.hpp"
#include "queue_rig.hpp"

namespace ublk {
namespace {

// A queue over the image, and copies which have not begun to run.
class CopyBarrierTest : public ImageCopyRig {
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

}  // namespace
}  // namespace ublk
