#include "block.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace checker {

namespace {

constexpr uint64_t magic = 0x6b636f6c62776361;
constexpr size_t word_count = block_bytes / sizeof(uint64_t);
using Words = std::array<uint64_t, word_count>;
enum Position : size_t { at_magic, at_key, at_number, at_sequence, at_fill };
constexpr size_t at_checksum = word_count - 1;

uint64_t mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

uint64_t checksum(const Words& words) {
  uint64_t sum = magic;
  for (size_t i = 0; i < at_checksum; i++) sum = mix(sum ^ words[i]) + i;
  return sum;
}

}  // namespace

void write_block(BlockBytes block, const BlockLabel& label) {
  Words words = {magic, label.device_key, label.number, label.sequence};
  const uint64_t seed = mix(label.device_key ^ mix(label.number ^ mix(label.sequence)));
  for (size_t i = at_fill; i < at_checksum; i++) words[i] = seed * (2 * i + 1);
  words[at_checksum] = checksum(words);
  std::memcpy(block.data(), words.data(), block_bytes);
}

BlockContent read_block(ConstBlockBytes block) {
  Words words;
  std::memcpy(words.data(), block.data(), block_bytes);
  if (std::ranges::all_of(words, [](uint64_t word) { return word == 0; })) return {BlockKind::zero, {}};
  if (words[at_magic] != magic || words[at_checksum] != checksum(words)) return {BlockKind::damaged, {}};
  return {BlockKind::labelled, {words[at_key], words[at_number], words[at_sequence]}};
}

}  // namespace checker
