#include "params.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace ublk {

namespace {

constexpr uint32_t page_bytes = 4096;
// 2 GiB. Kernels before 6.11 cut WRITE_ZEROES above UINT32_MAX >> 9 sectors and leave the rest of the range
// as it was.
constexpr uint32_t max_zeroing_sectors = (1U << 31) >> 9;

uint8_t shift_of(uint32_t bytes) {
  return static_cast<uint8_t>(std::countr_zero(bytes));
}

// 0 for a block that no kernel has.
uint32_t bytes_of_shift(uint8_t shift) {
  return shift < 32 ? 1U << shift : 0;
}

}  // namespace

abi::Params to_params(const Geometry& geometry) {
  abi::Params params = {};
  params.len = sizeof(params);
  params.types = abi::param_type_basic | abi::param_type_discard;
  // Without VOLATILE_CACHE the kernel never sends FLUSH, and an fsync would promise what nobody did.
  if (geometry.volatile_cache) params.basic.attrs |= abi::attr_volatile_cache;
  if (geometry.read_only) params.basic.attrs |= abi::attr_read_only;
  if (geometry.fua) params.basic.attrs |= abi::attr_fua;
  params.basic.logical_bs_shift = shift_of(geometry.logical_block_bytes);
  params.basic.physical_bs_shift = shift_of(std::max(geometry.logical_block_bytes, page_bytes));
  params.basic.io_min_shift = shift_of(page_bytes);
  params.basic.io_opt_shift = shift_of(page_bytes);
  params.basic.max_sectors = geometry.max_io_bytes >> 9;
  params.basic.dev_sectors = geometry.size_bytes >> 9;
  params.discard.discard_granularity = geometry.discard_granularity_bytes;
  params.discard.max_discard_sectors = geometry.discard ? max_zeroing_sectors : 0;
  params.discard.max_write_zeroes_sectors = geometry.write_zeroes ? max_zeroing_sectors : 0;
  params.discard.max_discard_segments = 1;
  if (geometry.memory_align_bytes != 0) {
    params.types |= abi::param_type_dma_align;
    params.dma.alignment = geometry.memory_align_bytes - 1;
  }
  if (geometry.max_segments != 0) {
    params.types |= abi::param_type_segment;
    params.seg.seg_boundary_mask = UINT32_MAX;
    params.seg.max_segment_size = std::max(geometry.max_segment_bytes, abi::min_segment_size);
    params.seg.max_segments = geometry.max_segments;
  }
  return params;
}

Geometry from_params(const abi::Params& params) {
  return {
      .size_bytes = params.basic.dev_sectors << 9,
      .logical_block_bytes = bytes_of_shift(params.basic.logical_bs_shift),
      .max_io_bytes = params.basic.max_sectors << 9,
      .read_only = (params.basic.attrs & abi::attr_read_only) != 0,
      .discard = params.discard.max_discard_sectors != 0,
      .fua = (params.basic.attrs & abi::attr_fua) != 0,
      .write_zeroes = params.discard.max_write_zeroes_sectors != 0,
      .volatile_cache = (params.basic.attrs & abi::attr_volatile_cache) != 0,
      .discard_granularity_bytes = params.discard.discard_granularity,
  };
}

bool params_kept(const abi::Params& wanted, const abi::Params& kept) {
  return (kept.types & wanted.types) == wanted.types &&
         std::memcmp(&wanted.basic, &kept.basic, sizeof(wanted.basic)) == 0 &&
         std::memcmp(&wanted.discard, &kept.discard, sizeof(wanted.discard)) == 0 &&
         std::memcmp(&wanted.dma, &kept.dma, sizeof(wanted.dma)) == 0 &&
         std::memcmp(&wanted.seg, &kept.seg, sizeof(wanted.seg)) == 0;
}

}  // namespace ublk
