#include "counts.hpp"

#include <cstdio>
#include <cstring>

namespace checker {

namespace {

constexpr uint64_t shown_max = 10;

}  // namespace

void Counts::add(Verdict verdict, uint64_t block_number) {
  verified_blocks++;
  const uint64_t seen = ++verdicts[static_cast<size_t>(verdict)];
  if (verdict == Verdict::good || seen > shown_max) return;
  std::fprintf(stderr, "checker: block %lu is %s\n", block_number, name_of(verdict));
}

void Counts::add_error(const char* operation, const Range& range, int error) {
  if (++errors > shown_max) return;
  std::fprintf(stderr, "checker: %s of %u blocks at block %lu failed: %s\n", operation, range.count,
               range.first, std::strerror(-error));
}

bool Counts::clean() const {
  uint64_t bad = errors;
  for (size_t i = 1; i < verdicts.size(); i++) bad += verdicts[i];
  return bad == 0;
}

void Counts::print() const {
  std::printf(
      "{\"writes\":%lu,\"durableWrites\":%lu,\"reads\":%lu,\"flushes\":%lu,\"verifiedBlocks\":%lu,"
      "\"lost\":%lu,\"stale\":%lu,\"torn\":%lu,\"misplaced\":%lu,\"errors\":%lu,\"longestWaitMs\":%lu}\n",
      writes, durable_writes, reads, flushes, verified_blocks, verdicts[1], verdicts[2], verdicts[3],
      verdicts[4], errors, longest_wait_ms);
  std::fflush(stdout);
}

}  // namespace checker
