// The cases that fuzzing has found, and those it starts from, once more.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "fuzz.hpp"

namespace ublk {
namespace {

size_t play_corpus(const char* name, void (*play)(std::span<const uint8_t>)) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(FUZZ_CORPUS) / name)) {
    SCOPED_TRACE(entry.path().filename().string());
    std::ifstream file(entry.path(), std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    play({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
    count++;
  }
  return count;
}

TEST(FuzzCorpus, OfParams) {
  EXPECT_GT(play_corpus("params", fuzz_params), 0u);
}

TEST(FuzzCorpus, OfDescriptors) {
  EXPECT_GT(play_corpus("queue", fuzz_queue), 0u);
}

}  // namespace
}  // namespace ublk
