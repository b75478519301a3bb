#include "copy_progress.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>

namespace ublk {

namespace {

constexpr std::array<char, 8> magic = {'u', 'b', 'l', 'k', 'c', 'o', 'p', 'y'};
constexpr uint32_t format_version = 1;
constexpr uint64_t bits_offset = 4096;
constexpr uint64_t word_bits = 64;

// The begin of the file; the bits of the chunks follow at `bits_offset`.
struct Header {
  std::array<char, 8> magic = {};
  uint32_t version = 0;
  uint32_t state = 0;
  uint64_t size_bytes = 0;
  uint64_t chunk_bytes = 0;
  FileIdentity source;
  FileIdentity target;
  std::array<char, 40> boot_id = {};
  std::array<char, 256> reason = {};
};
static_assert(sizeof(Header) == 360 && sizeof(Header) <= bits_offset);

template <size_t size>
void fill(std::array<char, size>& field, const std::string& text) {
  std::copy_n(text.data(), std::min(text.size(), size - 1), field.data());
}

template <size_t size>
std::string text_of(const std::array<char, size>& field) {
  return {field.data(), ::strnlen(field.data(), size)};
}

int write_all(int fd, const void* bytes, size_t length, uint64_t offset) {
  const ssize_t written = ::pwrite(fd, bytes, length, static_cast<off_t>(offset));
  if (written < 0) return -errno;
  return static_cast<size_t>(written) == length ? 0 : -ENOSPC;
}

uint64_t chunks_of(uint64_t size_bytes) {
  return (size_bytes + CopyProgress::chunk_bytes - 1) / CopyProgress::chunk_bytes;
}

}  // namespace

int CopyProgress::create(const std::string& path, const CopyIdentity& identity) {
  path_ = path;
  file_ = UniqueFd(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file_.valid()) return -errno;
  identity_ = identity;
  prepare_bits();
  // All the space it will ever need: a chunk that is in the target must not fail to be noted.
  const auto length = static_cast<off_t>(bits_offset + words_.size() * sizeof(Word));
  const int allocated = ::posix_fallocate(file_.get(), 0, length);
  return allocated != 0 ? -allocated : write_header(CopyState::starting, {});
}

int CopyProgress::open(const std::string& path) {
  path_ = path;
  file_ = UniqueFd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!file_.valid()) return -errno;
  Header header;
  const ssize_t got = ::pread(file_.get(), &header, sizeof(header), 0);
  if (got < 0) return -errno;
  const bool known = got == sizeof(header) && header.magic == magic && header.version == format_version &&
                     header.chunk_bytes == chunk_bytes &&
                     header.state <= static_cast<uint32_t>(CopyState::failed);
  if (!known) return -EPROTO;
  identity_ = {.size_bytes = header.size_bytes,
               .source = header.source,
               .target = header.target,
               .boot_id = text_of(header.boot_id)};
  state_ = static_cast<CopyState>(header.state);
  reason_ = text_of(header.reason);
  prepare_bits();
  return read_bits();
}

void CopyProgress::prepare_bits() {
  chunk_count_ = chunks_of(identity_.size_bytes);
  words_ = std::vector<Word>((chunk_count_ + word_bits - 1) / word_bits);
}

int CopyProgress::read_bits() {
  std::vector<uint64_t> bits(words_.size());
  const size_t length = bits.size() * sizeof(uint64_t);
  const ssize_t got = ::pread(file_.get(), bits.data(), length, bits_offset);
  if (got < 0) return -errno;
  if (static_cast<size_t>(got) != length) return -EPROTO;
  uint64_t count = 0;
  for (size_t i = 0; i < bits.size(); i++) {
    words_[i].store(bits[i], std::memory_order_relaxed);
    count += static_cast<uint64_t>(std::popcount(bits[i]));
  }
  copied_count_ = count;
  return count <= chunk_count_ ? 0 : -EPROTO;
}

int CopyProgress::set_state(CopyState state, const std::string& reason) {
  const int written = write_header(state, reason);
  if (written < 0) return written;
  state_ = state;
  reason_ = reason;
  return 0;
}

int CopyProgress::write_header(CopyState state, const std::string& reason) {
  Header header = {.magic = magic,
                   .version = format_version,
                   .state = static_cast<uint32_t>(state),
                   .size_bytes = identity_.size_bytes,
                   .chunk_bytes = chunk_bytes,
                   .source = identity_.source,
                   .target = identity_.target};
  fill(header.boot_id, identity_.boot_id);
  fill(header.reason, reason);
  return write_all(file_.get(), &header, sizeof(header), 0);
}

int CopyProgress::sync() {
  return ::fdatasync(file_.get()) < 0 ? -errno : 0;
}

int CopyProgress::forget_file() {
  return ::unlink(path_.c_str()) < 0 && errno != ENOENT ? -errno : 0;
}

bool CopyProgress::has(uint64_t chunk) const {
  return (words_[chunk / word_bits].load(std::memory_order_acquire) >> (chunk % word_bits) & 1) != 0;
}

bool CopyProgress::has_all(uint64_t first, uint64_t end) const {
  return next_missing(first, end) == end;
}

uint64_t CopyProgress::next_missing(uint64_t first, uint64_t end) const {
  while (first < end) {
    const uint64_t left = words_[first / word_bits].load(std::memory_order_acquire) >> (first % word_bits);
    const uint64_t present = static_cast<uint64_t>(std::countr_one(left));
    if (present < word_bits - first % word_bits) return std::min(first + present, end);
    first += present;
  }
  return end;
}

uint64_t CopyProgress::copied_bytes() const {
  return std::min(copied_count_.load(std::memory_order_relaxed) * chunk_bytes, identity_.size_bytes);
}

int CopyProgress::add(uint64_t first, uint64_t end) {
  const uint64_t first_word = first / word_bits;
  std::vector<uint64_t> bits((end - 1) / word_bits + 1 - first_word);
  for (size_t i = 0; i < bits.size(); i++) {
    bits[i] = words_[first_word + i].load(std::memory_order_relaxed);
  }
  uint64_t fresh = 0;
  for (uint64_t chunk = first; chunk < end; chunk++) {
    uint64_t& word = bits[chunk / word_bits - first_word];
    const uint64_t bit = uint64_t{1} << (chunk % word_bits);
    fresh += (word & bit) == 0 ? 1 : 0;
    word |= bit;
  }
  const int written = write_all(file_.get(), bits.data(), bits.size() * sizeof(uint64_t),
                                bits_offset + first_word * sizeof(uint64_t));
  if (written < 0) return written;
  for (size_t i = 0; i < bits.size(); i++) {
    words_[first_word + i].store(bits[i], std::memory_order_release);
  }
  copied_count_.fetch_add(fresh, std::memory_order_relaxed);
  return 0;
}

}  // namespace ublk
