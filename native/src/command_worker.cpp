#include "command_worker.hpp"

#include <dirent.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <memory>
#include <string_view>

namespace ublk {

namespace {

constexpr int functions_max = 6;

std::unique_ptr<std::FILE, int (*)(std::FILE*)> open_text(const std::string& path) {
  return {std::fopen(path.c_str(), "re"), &std::fclose};
}

std::string read_line(std::FILE* file) {
  std::array<char, 256> line = {};
  if (file == nullptr || std::fgets(line.data(), line.size(), file) == nullptr) return "";
  std::string text = line.data();
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

// `[<0>] del_gendisk+0x12/0x340` gives `del_gendisk`.
std::string to_function(const std::string& line) {
  const size_t begin = line.find("] ");
  return begin == std::string::npos ? "" : line.substr(begin + 2, line.find('+') - begin - 2);
}

std::string read_stack(const std::string& task) {
  const auto file = open_text(task + "/stack");
  std::string functions;
  for (int i = 0; i < functions_max; i++) {
    const std::string function = to_function(read_line(file.get()));
    if (function.empty()) break;
    functions += (functions.empty() ? "" : " < ") + function;
  }
  return functions;
}

}  // namespace

// io_uring runs a command that may sleep on a thread of its own, named after the thread that issued it.
std::string describe_command_worker() {
  const std::string worker_name = "iou-wrk-" + std::to_string(::gettid());
  const std::unique_ptr<DIR, int (*)(DIR*)> tasks(::opendir("/proc/self/task"), &::closedir);
  std::string seen;
  for (const dirent* entry = nullptr; tasks != nullptr && (entry = ::readdir(tasks.get())) != nullptr;) {
    const std::string task = std::string("/proc/self/task/") + entry->d_name;
    if (read_line(open_text(task + "/comm").get()) != worker_name) continue;
    const std::string stack = read_stack(task);
    // An idle worker waits for work in io_uring itself.
    if (stack.empty() || stack.starts_with("io_wq_worker")) continue;
    seen += (seen.empty() ? "" : "; ") + stack;
  }
  return seen;
}

}  // namespace ublk
