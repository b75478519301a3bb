#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "fuzz.hpp"
#include "params.hpp"

namespace ublk {

void fuzz_params(std::span<const uint8_t> input) {
  abi::Params params = {};
  std::memcpy(&params, input.data(), std::min(input.size(), sizeof(params)));
  const Geometry geometry = from_params(params);
  if (!params_kept(params, params)) {
    std::fputs("params are not equal to themselves\n", stderr);
    std::abort();
  }
  // What nobody could serve is not turned into params again.
  if (geometry.logical_block_bytes == 0) return;
  const abi::Params again = to_params(geometry);
  if (again.basic.dev_sectors == (params.basic.dev_sectors << 9 >> 9)) return;
  std::fputs("the size is lost on the way through a geometry\n", stderr);
  std::abort();
}

}  // namespace ublk
