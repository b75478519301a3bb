#include "open_files.hpp"

#include <filesystem>
#include <iterator>

size_t open_file_count() {
  const std::filesystem::directory_iterator open_files("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(open_files), end(open_files)));
}
