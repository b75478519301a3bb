#include "verify.hpp"

#include <algorithm>
#include <cstdio>
#include <map>
#include <vector>

#include "event_log.hpp"

namespace checker {

namespace {

// Reads a log of a power failure at one mark: acknowledged writes wait for a flush that began after them.
class Reader {
 public:
  Reader(After after, uint64_t mark) : after_(after), mark_(mark) {}

  void take(const Event& event) {
    if (event.kind == EventKind::run) {
      ledger = std::make_unique<Ledger>(event.sequence, event.first);
    } else if (ledger) {
      take_of_run(event);
    }
  }

  bool found_mark() const { return after_ == After::process_crash || mark_ == 0 || passed_mark_; }

  std::unique_ptr<Ledger> ledger;
  uint64_t settled_writes = 0;

 private:
  void take_of_run(const Event& event) {
    const Range range = {event.first, event.count};
    switch (event.kind) {
      case EventKind::issued:
        ledger->issue(range, event.sequence);
        break;
      case EventKind::acknowledged:
        if (after_ == After::process_crash)
          settle(range, event.sequence);
        else
          waiting_.push_back(event);
        break;
      case EventKind::durable:
        if (after_ == After::process_crash || before_mark()) settle(range, event.sequence);
        break;
      case EventKind::flush_started:
        covered_[event.sequence] = waiting_.size();
        break;
      case EventKind::flush_done:
        if (after_ == After::power_failure && before_mark()) settle_covered(covered_[event.sequence]);
        break;
      case EventKind::mark_set:
        passed_mark_ |= event.sequence == mark_;
        break;
      case EventKind::run:
        break;
    }
  }

  bool before_mark() const { return mark_ != 0 && !passed_mark_; }

  void settle(const Range& range, uint64_t sequence) {
    ledger->settle(range, sequence);
    settled_writes++;
  }

  void settle_covered(size_t count) {
    for (; settled_ < count; settled_++) {
      const Event& event = waiting_[settled_];
      settle({event.first, event.count}, event.sequence);
    }
  }

  const After after_;
  const uint64_t mark_;
  bool passed_mark_ = false;
  std::vector<Event> waiting_;
  size_t settled_ = 0;
  std::map<uint64_t, size_t> covered_;
};

}  // namespace

void verify(const Disk& disk, const Ledger& ledger, Counts& counts) {
  Buffer buffer;
  for (uint64_t first = 0; first < ledger.block_count(); first += transfer_blocks_max) {
    const uint64_t left = ledger.block_count() - first;
    const Range range = {first, static_cast<uint32_t>(std::min<uint64_t>(left, transfer_blocks_max))};
    const int result = disk.read(range, buffer);
    if (result < 0) {
      counts.add_error("read", range, result);
      continue;
    }
    for (uint32_t i = 0; i < range.count; i++)
      counts.add(ledger.judge(first + i, buffer.block(i)), first + i);
  }
}

std::unique_ptr<Ledger> load_ledger(const std::string& log_path, After after, uint64_t mark,
                                    uint64_t& writes) {
  Reader reader(after, mark);
  const int result = read_events(log_path, [&reader](const Event& event) { reader.take(event); });
  if (result < 0) {
    std::fprintf(stderr, "checker: %s cannot be read (errno %d)\n", log_path.c_str(), -result);
    return nullptr;
  }
  if (!reader.ledger || !reader.found_mark()) {
    std::fprintf(stderr, "checker: %s has no %s\n", log_path.c_str(),
                 reader.ledger ? "such mark" : "run in it");
    return nullptr;
  }
  writes = reader.settled_writes;
  return std::move(reader.ledger);
}

}  // namespace checker
