#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace checker {

// The unit that a device never tears; each carries what it takes to recognise it.
constexpr size_t block_bytes = 512;

// What a block says of itself. `sequence` grows with every write of a run; 0 is "never written".
struct BlockLabel {
  uint64_t device_key = 0;
  uint64_t number = 0;
  uint64_t sequence = 0;
};

enum class BlockKind { zero, labelled, damaged };

struct BlockContent {
  BlockKind kind = BlockKind::damaged;
  BlockLabel label;
};

using BlockBytes = std::span<std::byte, block_bytes>;
using ConstBlockBytes = std::span<const std::byte, block_bytes>;

// Fills the whole block: label, bytes that follow from it, and a checksum over both.
void write_block(BlockBytes block, const BlockLabel& label);

// `damaged` when the bytes are no block as written: torn, or somebody else's.
BlockContent read_block(ConstBlockBytes block);

}  // namespace checker
