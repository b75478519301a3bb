#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "counts.hpp"
#include "disk.hpp"
#include "ledger.hpp"

namespace checker {

// Reads every block and judges it.
void verify(const Disk& disk, const Ledger& ledger, Counts& counts);

// What a log says must be there.
enum class After {
  process_crash,  // every acknowledged write
  power_failure,  // what a flush, or a durable write, had completed when the mark was set
};

// Builds the ledger of a run from its log. Mark 0 stands for the time before the first mark: nothing must be
// there. Null when the log cannot be read, is empty, or has no such mark; `writes` is how many writes must be
// there.
std::unique_ptr<Ledger> load_ledger(const std::string& log_path, After after, uint64_t mark,
                                    uint64_t& writes);

}  // namespace checker
