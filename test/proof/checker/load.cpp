#include "load.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "mark.hpp"

namespace checker {

namespace {

using Clock = std::chrono::steady_clock;

uint64_t elapsed_ms(Clock::time_point since) {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - since).count());
}

// Mostly the small sizes that databases and file systems write, sometimes the largest there is.
uint32_t choose_length(std::mt19937_64& random) {
  constexpr uint32_t usual[] = {1, 2, 7, 8, 8, 8, 16, 32, 64, 255, transfer_blocks_max};
  return usual[random() % std::size(usual)];
}

}  // namespace

Load::Load(LoadOptions options, const Disk& disk, Ledger& ledger, EventLog& log)
    : options_(std::move(options)), disk_(disk), ledger_(ledger), log_(log), claimed_(ledger.block_count()) {}

Counts Load::run() {
  record({.kind = EventKind::run, .first = ledger_.block_count(), .sequence = ledger_.device_key()});
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < options_.thread_count; i++) threads.emplace_back([this, i] { work(i); });
  for (std::thread& thread : threads) thread.join();
  return counts_;
}

void Load::work(uint32_t worker) {
  std::mt19937_64 random(ledger_.device_key() ^ (worker + 1));
  Buffer buffer;
  while (!done()) {
    const Action action = choose(random);
    if (action == Action::flush) {
      flush();
    } else if (const std::optional<Range> range = claim(random)) {
      if (action == Action::read)
        read(*range, buffer);
      else
        write(*range, buffer, action == Action::write_durably);
      release(*range);
    }
    if (options_.pause_us > 0) std::this_thread::sleep_for(std::chrono::microseconds(options_.pause_us));
  }
}

bool Load::done() const {
  return stopping_;
}

Load::Action Load::choose(std::mt19937_64& random) const {
  const uint64_t dice = random() % 64;
  if (dice < 1) return Action::flush;
  if (dice < 6) return Action::write_durably;
  return dice < 20 ? Action::read : Action::write;
}

std::optional<Range> Load::claim(std::mt19937_64& random) {
  const auto count = static_cast<uint32_t>(std::min<uint64_t>(choose_length(random), ledger_.block_count()));
  const Range range = {random() % (ledger_.block_count() - count + 1), count};
  const std::lock_guard lock(mutex_);
  const auto begin = claimed_.begin() + static_cast<int64_t>(range.first);
  if (std::find(begin, begin + count, true) != begin + count) return std::nullopt;
  std::fill(begin, begin + count, true);
  return range;
}

void Load::release(const Range& range) {
  const std::lock_guard lock(mutex_);
  const auto begin = claimed_.begin() + static_cast<int64_t>(range.first);
  std::fill(begin, begin + range.count, false);
}

void Load::write(const Range& range, Buffer& buffer, bool durably) {
  uint64_t sequence = 0;
  {
    const std::lock_guard lock(mutex_);
    sequence = ++last_sequence_;
    ledger_.issue(range, sequence);
    record({.kind = EventKind::issued, .count = range.count, .first = range.first, .sequence = sequence});
  }
  for (uint32_t i = 0; i < range.count; i++) {
    write_block(buffer.block(i), {ledger_.device_key(), range.first + i, sequence});
  }
  const auto begun = Clock::now();
  const int result = disk_.write(range, buffer, durably);
  const uint64_t wait_ms = elapsed_ms(begun);
  const std::lock_guard lock(mutex_);
  counts_.longest_wait_ms = std::max(counts_.longest_wait_ms, wait_ms);
  if (result < 0) return counts_.add_error("write", range, result);
  ledger_.settle(range, sequence);
  const EventKind kind = durably ? EventKind::durable : EventKind::acknowledged;
  record({.kind = kind, .count = range.count, .first = range.first, .sequence = sequence});
  counts_.durable_writes += durably ? 1 : 0;
  if (++counts_.writes == options_.writes_max) stop();
}

void Load::read(const Range& range, Buffer& buffer) {
  const int result = disk_.read(range, buffer);
  const std::lock_guard lock(mutex_);
  if (result < 0) return counts_.add_error("read", range, result);
  counts_.reads++;
  for (uint32_t i = 0; i < range.count; i++) {
    counts_.add(ledger_.judge(range.first + i, buffer.block(i)), range.first + i);
  }
}

void Load::flush() {
  uint64_t number = 0;
  {
    const std::lock_guard lock(mutex_);
    number = ++last_flush_;
    record({.kind = EventKind::flush_started, .sequence = number});
  }
  const int result = disk_.flush();
  const std::lock_guard lock(mutex_);
  if (result < 0) return counts_.add_error("flush", {}, result);
  counts_.flushes++;
  record({.kind = EventKind::flush_done, .sequence = number});
  if (!options_.mark_device.empty()) mark(number);
}

// The event comes first: what was durable before it is below the mark in the log of the disk too.
void Load::mark(uint64_t flush_number) {
  record({.kind = EventKind::mark_set, .sequence = flush_number});
  const std::string name = std::to_string(ledger_.device_key()) + "-flush-" + std::to_string(flush_number);
  const int result = set_mark(options_.mark_device, name);
  if (result < 0) counts_.add_error("mark", {}, result);
}

// Without its log a run proves nothing.
void Load::record(const Event& event) {
  const int result = log_.append(event);
  if (result == 0) return;
  std::fprintf(stderr, "checker: the log cannot be written (errno %d): the run is void\n", -result);
  std::abort();
}

}  // namespace checker
