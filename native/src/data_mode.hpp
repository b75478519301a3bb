#pragma once

#include <cstdint>

namespace ublk {

// How the payload of a request gets from the kernel to its target and back. A device keeps the mode it was
// made with: the kernel has it in the device's flags.
enum class DataMode : uint8_t {
  copy,           // the kernel copies between the request's pages and a buffer of ours, unasked
  get_data,       // as copy, but for a WRITE only once we have named the buffer
  user_copy,      // we copy, with pread and pwrite on the char device, to and from any place
  zero_copy,      // we register the request's pages in the ring, for I/O that names them by index
  auto_zero_copy  // the kernel registers them, and takes them out again at the commit
};

// The mode of a device whose flags are these, and the flags that ask for a mode.
DataMode to_data_mode(uint64_t features);
uint64_t to_features(DataMode mode);
const char* name_of(DataMode mode);

// No byte of the payload is ever in our memory.
constexpr bool has_pages_in_ring(DataMode mode) {
  return mode == DataMode::zero_copy || mode == DataMode::auto_zero_copy;
}

}  // namespace ublk
