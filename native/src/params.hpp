#pragma once

#include <cstdint>

#include "abi.hpp"

namespace ublk {

// What the block layer shall know of a device.
struct Geometry {
  uint64_t size_bytes = 0;
  uint32_t logical_block_bytes = 512;
  uint32_t max_io_bytes = 0;
  bool read_only = false;
  bool discard = false;
  bool fua = false;
  // What the memory of a request must be a multiple of, where the target's file is given that very memory; 0
  // where it is not.
  uint32_t memory_align_bytes = 0;
  // The largest piece of memory, and how many of them, that the disk below the file takes at once; 0:
  // unknown.
  uint32_t max_segment_bytes = 0;
  uint16_t max_segments = 0;
  bool write_zeroes = true;
  bool volatile_cache = true;
  uint32_t discard_granularity_bytes = 4096;
};

abi::Params to_params(const Geometry& geometry);
Geometry from_params(const abi::Params& params);

// SET_PARAMS drops what the driver does not know without an error: compares what it kept.
bool params_kept(const abi::Params& wanted, const abi::Params& kept);

}  // namespace ublk
