#pragma once

#include <cstdint>
#include <vector>

#include "block.hpp"

namespace checker {

struct Range {
  uint64_t first = 0;
  uint32_t count = 0;
};

enum class Verdict {
  good,
  lost,       // nothing there where something must be
  stale,      // an older version than the one that must be there
  torn,       // no block as anybody wrote it
  misplaced,  // a whole block of another device, place or time
};

const char* name_of(Verdict verdict);

// Knows for each block which versions it may hold: the one it must not be older than, and the newest one
// issued.
class Ledger {
 public:
  Ledger(uint64_t device_key, uint64_t block_count) : device_key_(device_key), versions_(block_count) {}

  uint64_t device_key() const { return device_key_; }
  uint64_t block_count() const { return versions_.size(); }

  void issue(const Range& range, uint64_t sequence);
  // From here on the blocks must hold this version or a later one that was issued.
  void settle(const Range& range, uint64_t sequence);
  Verdict judge(uint64_t number, ConstBlockBytes bytes) const;

 private:
  struct Versions {
    uint64_t oldest_allowed = 0;
    uint64_t newest_issued = 0;
  };

  uint64_t device_key_;
  std::vector<Versions> versions_;
};

}  // namespace checker
