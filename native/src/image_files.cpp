#include "image_files.hpp"

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "unique_fd.hpp"

namespace ublk {

namespace {

// Bounds the memory of one page, and how long one call keeps the file's locks.
constexpr size_t page_entries_max = 1024;

int last_error() {
  return -errno;
}

// Different file systems, one without reflinks, and on btrfs a file with and one without copy-on-write.
bool means_cannot_share(int error) {
  return error == -EOPNOTSUPP || error == -EXDEV || error == -EINVAL || error == -ENOTTY;
}

uint64_t end_of(FileRange range) {
  const uint64_t end = range.offset_bytes + range.length_bytes;
  return end < range.offset_bytes ? UINT64_MAX : end;
}

// A request of FIEMAP and the room for its answer, which the kernel wants in one piece.
class ExtentQuery {
 public:
  ExtentQuery(FileRange range, uint32_t flags) : words_(total_bytes / sizeof(uint64_t)) {
    fiemap& header = this->header();
    header.fm_start = range.offset_bytes;
    header.fm_length = range.length_bytes;
    header.fm_flags = flags;
    header.fm_extent_count = page_entries_max;
  }
  fiemap& header() { return *reinterpret_cast<fiemap*>(words_.data()); }

 private:
  static constexpr size_t total_bytes = sizeof(fiemap) + page_entries_max * sizeof(fiemap_extent);
  static_assert(total_bytes % sizeof(uint64_t) == 0);
  std::vector<uint64_t> words_;
};

Status to_page(const fiemap& answer, FileRange range, Page<Extent>& page) {
  bool is_last = answer.fm_mapped_extents < page_entries_max;
  page.next_bytes = range.offset_bytes;
  for (uint32_t i = 0; i < answer.fm_mapped_extents; i++) {
    const fiemap_extent& extent = answer.fm_extents[i];
    page.entries.push_back({extent.fe_logical, extent.fe_physical, extent.fe_length, extent.fe_flags});
    page.next_bytes = extent.fe_logical + extent.fe_length;
    if ((extent.fe_flags & FIEMAP_EXTENT_LAST) != 0) is_last = true;
  }
  page.more = !is_last && page.next_bytes < end_of(range);
  // Whoever asks for the next page would get this one for ever.
  if (page.more && page.next_bytes <= range.offset_bytes) return Status::of(-EIO, "FIEMAP");
  return Status::success();
}

Status query_extents(const std::string& path, FileRange range, uint32_t flags, Page<Extent>& page) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return Status::of(last_error(), "OPEN_SOURCE");
  if (range.length_bytes == 0) return Status::success();
  ExtentQuery query(range, flags);
  if (::ioctl(file.get(), FS_IOC_FIEMAP, &query.header()) < 0) {
    return Status::of(errno == ENOTTY ? -EOPNOTSUPP : last_error(), "FIEMAP");
  }
  return to_page(query.header(), range, page);
}

}  // namespace

Status clone_file(const std::string& source, const std::string& target) {
  const UniqueFd from(::open(source.c_str(), O_RDONLY | O_CLOEXEC));
  if (!from.valid()) return Status::of(last_error(), "OPEN_SOURCE");
  const UniqueFd to(::open(target.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!to.valid()) return Status::of(last_error(), "OPEN_TARGET");
  if (::ioctl(to.get(), FICLONE, from.get()) == 0) return Status::success();
  const int error = last_error();
  ::unlink(target.c_str());
  return Status::of(means_cannot_share(error) ? -EOPNOTSUPP : error, "FICLONE");
}

Status read_extents(const std::string& path, FileRange range, Page<Extent>& page) {
  return query_extents(path, range, FIEMAP_FLAG_SYNC, page);
}

Status peek_extents(const std::string& path, FileRange range, Page<Extent>& page) {
  return query_extents(path, range, 0, page);
}

Status read_data_ranges(const std::string& path, FileRange range, Page<FileRange>& page) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return Status::of(last_error(), "OPEN_SOURCE");
  const uint64_t end_bytes = end_of(range);
  page.next_bytes = range.offset_bytes;
  while (page.next_bytes < end_bytes && page.entries.size() < page_entries_max) {
    const off_t data = ::lseek(file.get(), static_cast<off_t>(page.next_bytes), SEEK_DATA);
    if (data < 0 && errno == ENXIO) return Status::success();
    if (data < 0) return Status::of(last_error(), "SEEK_DATA");
    const uint64_t start_bytes = static_cast<uint64_t>(data);
    if (start_bytes >= end_bytes) return Status::success();
    const off_t hole = ::lseek(file.get(), data, SEEK_HOLE);
    if (hole < 0) return Status::of(last_error(), "SEEK_HOLE");
    page.next_bytes = static_cast<uint64_t>(hole);
    page.entries.push_back({start_bytes, std::min(page.next_bytes, end_bytes) - start_bytes});
  }
  page.more = page.next_bytes < end_bytes;
  return Status::success();
}

}  // namespace ublk
