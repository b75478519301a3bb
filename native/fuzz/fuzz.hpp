#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace ublk {

// Each feeds bytes from outside to one parser of the engine and aborts when it does what it must not. The
// same code runs under a fuzzer and, over the corpus of found cases, in the tests.

// What GET_PARAMS answers, read back as a geometry.
void fuzz_params(std::span<const uint8_t> input);
// Descriptors and results from the driver, several requests in flight, over a file and a memory target.
void fuzz_queue(std::span<const uint8_t> input);

}  // namespace ublk
