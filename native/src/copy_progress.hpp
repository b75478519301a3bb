#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "unique_fd.hpp"

namespace ublk {

enum class CopyState : uint32_t {
  starting,  // its instant is not fixed: nobody has been told of it
  copying,
  done,    // the target has everything, durably
  failed,  // or given up
};

// A file as the kernel knows it: another one may have its path by now.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  bool operator==(const FileIdentity&) const = default;
};

// What a copy is of, as its file of progress says.
struct CopyIdentity {
  uint64_t size_bytes = 0;
  FileIdentity source;
  FileIdentity target;
  std::string boot_id;  // of the machine: the next boot has lost what was not written back
};

// Which chunks of an image its copy has. Kept in a file by writes, not by a mapping: a full disk is an error
// then and no signal, and what was written outlives a killed process all the same. One thread changes it; any
// may ask.
class CopyProgress {
 public:
  static constexpr uint64_t chunk_bytes = 128 * 1024;

  // Makes the file, or makes it anew. 0 or a negative errno.
  int create(const std::string& path, const CopyIdentity& identity);
  // Reads what another process has left. -EPROTO when it is no such file.
  int open(const std::string& path);

  const CopyIdentity& identity() const { return identity_; }
  CopyState state() const { return state_; }
  const std::string& reason() const { return reason_; }
  // 0 or a negative errno; the state is the old one then, here and in the file.
  int set_state(CopyState state, const std::string& reason = {});
  // Makes durable what was set. 0 or a negative errno.
  int sync();
  // The last means against a file that still says `copying`: without it there is no copy to go on with.
  int forget_file();

  uint64_t chunk_count() const { return chunk_count_; }
  bool has(uint64_t chunk) const;
  bool has_all(uint64_t first, uint64_t end) const;
  // The first from there on that is missing, or `end`.
  uint64_t next_missing(uint64_t first, uint64_t end) const;
  uint64_t copied_bytes() const;
  // The target has these chunks: says so in the file, and then to who asks. 0 or a negative errno.
  int add(uint64_t first, uint64_t end);

 private:
  using Word = std::atomic<uint64_t>;
  void prepare_bits();
  int read_bits();
  int write_header(CopyState state, const std::string& reason);

  std::string path_;
  UniqueFd file_;
  CopyIdentity identity_;
  CopyState state_ = CopyState::starting;
  std::string reason_;
  uint64_t chunk_count_ = 0;
  std::vector<Word> words_;
  std::atomic<uint64_t> copied_count_{0};
};

}  // namespace ublk
