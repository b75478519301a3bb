#pragma once

#include <cstddef>

namespace ublk {

// Copies to and from a mapped file which may lose its pages at any time: a full tmpfs, or a file that
// somebody cuts short, turns an ordinary access into SIGBUS. Here that is one failed request, not the end of
// every device.

// Installs the process-wide SIGBUS handler once. A SIGBUS outside a guarded access goes to the handler that
// was there before. 0 or a negative errno.
int install_bus_guard();

// memcpy and memset to zero; 0, or -ENOSPC when a page of the mapping could not be had.
int guarded_copy(std::byte* to, const std::byte* from, size_t length_bytes);
int guarded_zero(std::byte* to, size_t length_bytes);

}  // namespace ublk
