#include "histogram.hpp"

#include <gtest/gtest.h>

namespace ublk {
namespace {

TEST(Histogram, HasFourBucketsForEachPowerOfTwo) {
  EXPECT_EQ(Histogram::bucket_of(0), 0u);
  EXPECT_EQ(Histogram::bucket_of(1023), 0u);
  EXPECT_EQ(Histogram::bucket_of(1024), 1u);
  EXPECT_EQ(Histogram::bucket_of(1279), 1u);
  EXPECT_EQ(Histogram::bucket_of(1280), 2u);
  EXPECT_EQ(Histogram::bucket_of(2047), 4u);
  EXPECT_EQ(Histogram::bucket_of(2048), 5u);
  EXPECT_EQ(Histogram::bucket_of(1ULL << 36), 105u);
  EXPECT_EQ(Histogram::bucket_of((1ULL << 37) - 1), 108u);
  EXPECT_EQ(Histogram::bucket_of(UINT64_MAX), 108u) << "the last one has no end";
}

TEST(Histogram, NeverGoesBackWithALongerTime) {
  size_t last = 0;
  for (uint64_t duration_ns = 1; duration_ns < 1ULL << 40; duration_ns += 1 + duration_ns / 50) {
    const size_t bucket = Histogram::bucket_of(duration_ns);
    ASSERT_GE(bucket, last);
    ASSERT_LE(bucket, last + 1);
    last = bucket;
  }
  EXPECT_EQ(last, Histogram::bucket_count - 1);
}

TEST(Histogram, CountsAndSums) {
  Histogram histogram;
  histogram.add(500);
  histogram.add(600);
  histogram.add(5000);
  EXPECT_EQ(histogram.count(0), 2u);
  EXPECT_EQ(histogram.count(Histogram::bucket_of(5000)), 1u);
  EXPECT_EQ(histogram.sum_ns(), 6100u);
}

}  // namespace
}  // namespace ublk
