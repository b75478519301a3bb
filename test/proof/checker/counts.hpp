#pragma once

#include <array>
#include <cstdint>

#include "ledger.hpp"

namespace checker {

// What a run did and found.
struct Counts {
  uint64_t writes = 0;
  uint64_t durable_writes = 0;
  uint64_t reads = 0;
  uint64_t flushes = 0;
  uint64_t verified_blocks = 0;
  uint64_t errors = 0;
  uint64_t longest_wait_ms = 0;
  std::array<uint64_t, 5> verdicts = {};

  // Counts the verdict and, for the first bad ones, says on standard error which block it was.
  void add(Verdict verdict, uint64_t block_number);
  // Counts an error that the application saw.
  void add_error(const char* operation, const Range& range, int error);
  bool clean() const;
  // One line of JSON.
  void print() const;
};

}  // namespace checker
