#include "self_test.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <functional>

#include "disk.hpp"
#include "event_log.hpp"
#include "load.hpp"
#include "verify.hpp"

namespace checker {

namespace {

constexpr uint64_t key = 0x5e1f;
constexpr uint64_t block_count = 4096;
constexpr uint64_t victim = 100;

struct Case {
  const char* name;
  Verdict expected;
  std::function<void(Buffer&)> damage;
};

bool expect(bool holds, const char* what) {
  std::printf("%s: %s\n", holds ? "passed" : "FAILED", what);
  return holds;
}

BlockLabel label_of(Buffer& buffer) {
  return read_block(buffer.block(0)).label;
}

// What each fault leaves in a block that was written more than once.
const Case cases[] = {
    {"a lost write", Verdict::lost,
     [](Buffer& buffer) { std::memset(buffer.block(0).data(), 0, block_bytes); }},
    {"a stale write", Verdict::stale,
     [](Buffer& buffer) {
       BlockLabel label = label_of(buffer);
       label.sequence--;
       write_block(buffer.block(0), label);
     }},
    {"a torn write", Verdict::torn,
     [](Buffer& buffer) {
       Buffer older;
       BlockLabel label = label_of(buffer);
       label.sequence--;
       write_block(older.block(0), label);
       std::memcpy(buffer.block(0).data(), older.block(0).data(), block_bytes / 2);
     }},
    {"one flipped bit", Verdict::torn, [](Buffer& buffer) { buffer.block(0)[300] ^= std::byte{1}; }},
    {"a write to the wrong place", Verdict::misplaced,
     [](Buffer& buffer) {
       BlockLabel label = label_of(buffer);
       label.number++;
       write_block(buffer.block(0), label);
     }},
    {"a block of another device", Verdict::misplaced,
     [](Buffer& buffer) {
       BlockLabel label = label_of(buffer);
       label.device_key++;
       write_block(buffer.block(0), label);
     }},
    {"a version that nobody wrote", Verdict::misplaced,
     [](Buffer& buffer) {
       BlockLabel label = label_of(buffer);
       label.sequence += 1'000'000;
       write_block(buffer.block(0), label);
     }},
};

uint64_t bad_blocks(const Counts& counts) {
  return counts.verified_blocks - counts.verdicts[0];
}

bool sees(const Case& fault, const Disk& disk, const Ledger& ledger) {
  Buffer kept, buffer;
  const Range range = {victim, 1};
  disk.read(range, kept);
  disk.read(range, buffer);
  fault.damage(buffer);
  disk.write(range, buffer, false);
  Counts counts;
  verify(disk, ledger, counts);
  disk.write(range, kept, false);
  return expect(counts.verdicts[static_cast<size_t>(fault.expected)] == 1 && bad_blocks(counts) == 1,
                fault.name);
}

// Fills the disk once, so that every block has a version, and then writes at random.
bool run_load(const Disk& disk, const std::string& log_path, Counts& counts) {
  EventLog log;
  if (log.open(log_path) < 0) return false;
  Ledger ledger(key, disk.block_count());
  Load load({.writes_max = 3000}, disk, ledger, log);
  counts = load.run();
  return true;
}

bool finds_every_fault(const Disk& disk, const std::string& log_path) {
  uint64_t writes = 0;
  const std::unique_ptr<Ledger> ledger = load_ledger(log_path, After::process_crash, 0, writes);
  if (!ledger) return expect(false, "the log can be read");
  Counts untouched;
  verify(disk, *ledger, untouched);
  bool passed = expect(untouched.clean() && writes >= 3000, "an untouched disk is good");
  for (const Case& fault : cases) passed &= sees(fault, disk, *ledger);
  return passed;
}

// One block each: 10 is acknowledged before the flush, 11 after it, 12 durably, 13 is only issued.
bool write_power_log(const std::string& path) {
  EventLog log;
  if (log.open(path) < 0) return false;
  const auto say = [&log](EventKind kind, uint64_t first, uint64_t sequence) {
    log.append({.kind = kind, .count = 1, .first = first, .sequence = sequence});
  };
  say(EventKind::run, 64, key);
  for (uint64_t block = 10; block <= 13; block++) say(EventKind::issued, block, block);
  say(EventKind::acknowledged, 10, 10);
  say(EventKind::flush_started, 0, 1);
  say(EventKind::acknowledged, 11, 11);
  say(EventKind::flush_done, 0, 1);
  say(EventKind::durable, 12, 12);
  say(EventKind::mark_set, 0, 1);
  return true;
}

bool knows_what_a_flush_covers(const std::string& path) {
  uint64_t writes = 0;
  if (!write_power_log(path)) return expect(false, "a log can be written");
  const std::unique_ptr<Ledger> ledger = load_ledger(path, After::power_failure, 1, writes);
  if (!ledger) return expect(false, "a mark is found");
  Buffer empty;
  std::memset(empty.of(1).data(), 0, block_bytes);
  const auto verdict = [&](uint64_t block) { return ledger->judge(block, empty.block(0)); };
  bool passed = expect(verdict(10) == Verdict::lost, "power failure: a write before the flush is missed");
  passed &= expect(verdict(12) == Verdict::lost, "power failure: a durable write is missed");
  passed &= expect(verdict(11) == Verdict::good, "power failure: a write after the flush began may be gone");
  passed &= expect(verdict(13) == Verdict::good, "power failure: a write without an answer may be gone");
  passed &= expect(!load_ledger(path, After::power_failure, 2, writes), "an unknown mark is refused");
  return passed;
}

}  // namespace

bool self_test(const std::string& directory) {
  const std::string path = directory + "/disk";
  const int created = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  const bool sized = created >= 0 && ::ftruncate(created, block_count * block_bytes) == 0;
  if (created >= 0) ::close(created);
  Disk disk;
  if (!sized || disk.open(path, true) < 0) return expect(false, "a disk of the self-test's own can be made");
  Counts counts;
  const std::string log_path = directory + "/log";
  if (!run_load(disk, log_path, counts)) return expect(false, "a log can be written");
  bool passed = expect(counts.clean() && counts.reads > 0 && counts.flushes > 0 && counts.durable_writes > 0,
                       "a load with writes, durable writes, reads and flushes");
  passed &= finds_every_fault(disk, log_path);
  passed &= knows_what_a_flush_covers(directory + "/power-log");
  return passed;
}

}  // namespace checker
