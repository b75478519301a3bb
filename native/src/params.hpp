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
};

abi::Params to_params(const Geometry& geometry);
Geometry from_params(const abi::Params& params);

// SET_PARAMS drops what the driver does not know without an error: compares what it kept.
bool params_kept(const abi::Params& wanted, const abi::Params& kept);

}  // namespace ublk
