#pragma once
// What the tests of copies share: an image whose chunks differ, and a copy of it.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>

#include "image_copy.hpp"
#include "scratch.hpp"
#include "wait_until.hpp"

namespace ublk {

inline constexpr uint64_t chunk_bytes = CopyProgress::chunk_bytes;

// A copy that has its files and has not begun.
inline SharedCopy created_copy(const CopySpec& spec) {
  auto copy = std::make_shared<ImageCopy>(spec);
  const char* step = "";
  EXPECT_EQ(copy->create(step), 0) << step;
  return copy;
}

// An image and what is copied of it.
class ImageCopyRig : public ::testing::Test {
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
  static SharedCopy begun(const CopySpec& spec) {
    SharedCopy copy = created_copy(spec);
    EXPECT_EQ(copy->begin(), 0);
    return copy;
  }
  static bool reaches(const SharedCopy& copy, CopyState state) {
    return wait_until([&] { return copy->status().state == state; });
  }

  const Scratch scratch_;
};

}  // namespace ublk
