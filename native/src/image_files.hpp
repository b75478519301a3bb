#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "status.hpp"

namespace ublk {

// What a driver does with whole image files, beside serving them.

struct FileRange {
  uint64_t offset_bytes = 0;
  uint64_t length_bytes = 0;
};

// As FIEMAP tells it. It may begin before the range that was asked for, and end behind it.
struct Extent {
  uint64_t logical_bytes;
  uint64_t physical_bytes;
  uint64_t length_bytes;
  uint64_t flags;  // FIEMAP_EXTENT_*
};

// A part of a long list, in ascending order. What is left begins at `next_bytes`.
template <typename Entry>
struct Page {
  std::vector<Entry> entries = {};
  bool more = false;
  uint64_t next_bytes = 0;
};

// Makes `target`, which must not exist, a copy of `source` that shares its blocks; it is not durable yet.
// -EOPNOTSUPP where the two files cannot share blocks. A failure leaves no `target` behind.
Status clone_file(const std::string& source, const std::string& target);

// The extents that touch the range, after what is dirty was written out. -EOPNOTSUPP where the file system
// keeps none, as tmpfs.
Status read_extents(const std::string& path, FileRange range, Page<Extent>& page);

// The same without writing anything out: what is dirty still has the extent that it had before, or none.
Status peek_extents(const std::string& path, FileRange range, Page<Extent>& page);

// The parts of the range that may hold other bytes than zeroes, by SEEK_DATA.
Status read_data_ranges(const std::string& path, FileRange range, Page<FileRange>& page);

}  // namespace ublk
