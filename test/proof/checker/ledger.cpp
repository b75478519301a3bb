#include "ledger.hpp"

#include <algorithm>

namespace checker {

const char* name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::good:
      return "good";
    case Verdict::lost:
      return "lost";
    case Verdict::stale:
      return "stale";
    case Verdict::torn:
      return "torn";
    case Verdict::misplaced:
      return "misplaced";
  }
  return "unknown";
}

void Ledger::issue(const Range& range, uint64_t sequence) {
  for (uint64_t i = range.first; i < range.first + range.count; i++) versions_[i].newest_issued = sequence;
}

void Ledger::settle(const Range& range, uint64_t sequence) {
  for (uint64_t i = range.first; i < range.first + range.count; i++) {
    versions_[i].oldest_allowed = std::max(versions_[i].oldest_allowed, sequence);
  }
}

Verdict Ledger::judge(uint64_t number, ConstBlockBytes bytes) const {
  const auto& [oldest_allowed, newest_issued] = versions_[number];
  const BlockContent content = read_block(bytes);
  if (content.kind == BlockKind::damaged) return Verdict::torn;
  if (content.kind == BlockKind::zero) return oldest_allowed == 0 ? Verdict::good : Verdict::lost;
  const BlockLabel& label = content.label;
  if (label.device_key != device_key_ || label.number != number) return Verdict::misplaced;
  if (label.sequence < oldest_allowed) return Verdict::stale;
  return label.sequence <= newest_issued ? Verdict::good : Verdict::misplaced;
}

}  // namespace checker
