#include "params.hpp"

#include <gtest/gtest.h>

namespace ublk {
namespace {

Geometry plain_disk() {
  return {.size_bytes = 3ull << 40, .logical_block_bytes = 512, .max_io_bytes = 1 << 20, .fua = true};
}

TEST(Params, SayHowLongTheyAre) {
  EXPECT_EQ(to_params(plain_disk()).len, sizeof(abi::Params));
  EXPECT_EQ(to_params(plain_disk()).types, abi::param_type_basic | abi::param_type_discard);
}

TEST(Params, CountSectorsOf512BytesWhateverTheBlock) {
  for (const uint32_t block_bytes : {512u, 4096u}) {
    Geometry disk = plain_disk();
    disk.logical_block_bytes = block_bytes;
    EXPECT_EQ(to_params(disk).basic.dev_sectors, (3ull << 40) / 512);
    EXPECT_EQ(to_params(disk).basic.max_sectors, (1u << 20) / 512);
    EXPECT_EQ(1u << to_params(disk).basic.logical_bs_shift, block_bytes);
    EXPECT_EQ(to_params(disk).basic.physical_bs_shift, 12);
  }
}

TEST(Params, AlwaysAskForFlushes) {
  EXPECT_NE(to_params(plain_disk()).basic.attrs & abi::attr_volatile_cache, 0u);
  EXPECT_NE(to_params({}).basic.attrs & abi::attr_volatile_cache, 0u);
}

TEST(Params, OfferDiscardOnlyWhereItIsServed) {
  Geometry disk = plain_disk();
  EXPECT_EQ(to_params(disk).discard.max_discard_sectors, 0u);
  disk.discard = true;
  EXPECT_GT(to_params(disk).discard.max_discard_sectors, 0u);
  EXPECT_EQ(to_params(disk).discard.max_discard_segments, 1);
  EXPECT_NE(to_params(disk).discard.discard_granularity, 0u);
}

TEST(Params, StayBelowTheZeroingThatOldKernelsCut) {
  Geometry disk = plain_disk();
  disk.discard = true;
  EXPECT_LE(to_params(disk).discard.max_write_zeroes_sectors, UINT32_MAX >> 9);
  EXPECT_LE(to_params(disk).discard.max_discard_sectors, UINT32_MAX >> 9);
}

TEST(Params, GiveTheGeometryBack) {
  for (const bool flag : {false, true}) {
    const Geometry disk = {.size_bytes = (1ull << 40) + 4096,
                           .logical_block_bytes = 4096,
                           .max_io_bytes = 512 * 1024,
                           .read_only = flag,
                           .discard = !flag,
                           .fua = flag};
    const Geometry back = from_params(to_params(disk));
    EXPECT_EQ(back.size_bytes, disk.size_bytes);
    EXPECT_EQ(back.logical_block_bytes, disk.logical_block_bytes);
    EXPECT_EQ(back.max_io_bytes, disk.max_io_bytes);
    EXPECT_EQ(back.read_only, disk.read_only);
    EXPECT_EQ(back.discard, disk.discard);
    EXPECT_EQ(back.fua, disk.fua);
  }
}

TEST(Params, AreKeptOnlyWhenNothingWasDroppedOrChanged) {
  const abi::Params wanted = to_params(plain_disk());
  abi::Params kept = wanted;
  kept.types |= abi::param_type_devt;
  EXPECT_TRUE(params_kept(wanted, kept)) << "the driver may add its own";
  kept.types &= ~abi::param_type_discard;
  EXPECT_FALSE(params_kept(wanted, kept));
  kept = wanted;
  kept.basic.dev_sectors--;
  EXPECT_FALSE(params_kept(wanted, kept));
  kept = wanted;
  kept.discard.max_write_zeroes_sectors = 0;
  EXPECT_FALSE(params_kept(wanted, kept));
}

}  // namespace
}  // namespace ublk
