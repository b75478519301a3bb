// Writes to a device, remembers what was acknowledged, and says what the device has lost. See docs/proof.md.

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "load.hpp"
#include "self_test.hpp"
#include "verify.hpp"

namespace checker {

namespace {

constexpr int exit_bad = 1;
constexpr int exit_usage = 2;

constexpr const char* usage =
    "usage: checker load --device PATH --key N [--log FILE] [--threads N] [--writes N] [--pause-us N]\n"
    "                    [--mark DM-NAME]     until SIGTERM or --writes; then compares every block\n"
    "       checker verify --device PATH --log FILE [--mark N]   what a process crash must leave or, with a "
    "mark,\n"
    "                    what a power failure after that flush must leave; 0: before any flush\n"
    "       checker self-test DIRECTORY       an empty one, on a file system with O_DIRECT\n"
    "Exit code 0: nothing lost; 1: something was, or an error was seen; 2: usage.\n";

using Options = std::map<std::string, std::string>;

Load* running_load = nullptr;

void stop_load(int) {
  if (running_load != nullptr) running_load->stop();
}

int fail(const char* what, const std::string& subject, int error) {
  std::fprintf(stderr, "checker: %s %s: %s\n", what, subject.c_str(), std::strerror(-error));
  return exit_bad;
}

uint64_t number(const Options& options, const char* name, uint64_t otherwise) {
  const auto found = options.find(name);
  return found == options.end() ? otherwise : std::strtoull(found->second.c_str(), nullptr, 0);
}

std::string text(const Options& options, const char* name) {
  const auto found = options.find(name);
  return found == options.end() ? "" : found->second;
}

int report(const Counts& counts) {
  counts.print();
  return counts.clean() ? 0 : exit_bad;
}

int run_load(const Options& options) {
  Disk disk;
  const std::string path = text(options, "--device");
  const int opened = disk.open(path, true);
  if (opened < 0) return fail("cannot open", path, opened);
  EventLog log;
  const std::string log_path = text(options, "--log");
  const int logged = log_path.empty() ? 0 : log.open(log_path);
  if (logged < 0) return fail("cannot write", log_path, logged);
  Ledger ledger(number(options, "--key", 1), disk.block_count());
  Load load({.thread_count = static_cast<uint32_t>(number(options, "--threads", 8)),
             .writes_max = number(options, "--writes", 0),
             .pause_us = static_cast<uint32_t>(number(options, "--pause-us", 0)),
             .mark_device = text(options, "--mark")},
            disk, ledger, log);
  running_load = &load;
  std::signal(SIGTERM, stop_load);
  Counts counts = load.run();
  running_load = nullptr;
  verify(disk, ledger, counts);
  return report(counts);
}

int run_verify(const Options& options) {
  Disk disk;
  const std::string path = text(options, "--device");
  const int opened = disk.open(path, false);
  if (opened < 0) return fail("cannot open", path, opened);
  const After after = options.contains("--mark") ? After::power_failure : After::process_crash;
  Counts counts;
  const auto ledger = load_ledger(text(options, "--log"), after, number(options, "--mark", 0), counts.writes);
  if (!ledger) return exit_bad;
  if (ledger->block_count() > disk.block_count()) return fail("too small:", path, -ERANGE);
  verify(disk, *ledger, counts);
  return report(counts);
}

bool parse(int count, char** words, Options& options) {
  for (int i = 2; i + 1 < count; i += 2) options[words[i]] = words[i + 1];
  return count >= 2 && count % 2 == 0;
}

}  // namespace

int run(int count, char** words) {
  const std::string command = count > 1 ? words[1] : "";
  if (command == "self-test" && count == 3) return self_test(words[2]) ? 0 : exit_bad;
  Options options;
  if (parse(count, words, options) && options.contains("--device")) {
    if (command == "load") return run_load(options);
    if (command == "verify" && options.contains("--log")) return run_verify(options);
  }
  std::fputs(usage, stderr);
  return exit_usage;
}

}  // namespace checker

int main(int count, char** words) {
  return checker::run(count, words);
}
