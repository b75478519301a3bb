#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "copy_progress.hpp"
#include "mapping.hpp"
#include "thread.hpp"
#include "unique_fd.hpp"

namespace ublk {

struct CopySpec {
  std::string source_path;
  std::string target_path;  // an empty sparse file
  std::string progress_path;
  uint64_t size_bytes = 0;
  bool direct = false;  // the source is read as a device over it writes: around the page cache, where it can
  std::string boot_id;
};

struct CopyStatus {
  CopyState state = CopyState::starting;
  uint64_t copied_bytes = 0;
  std::string reason;
};

// Copies an image in the background as it was at one instant, while devices write to it. What keeps the
// promise is that nobody changes a chunk that is not copied: a queue asks before each request that changes
// something, and has it wait. Its life: create or resume, begin at the instant, run, then done or failed;
// pause leaves the rest to another process.
class ImageCopy {
 public:
  explicit ImageCopy(CopySpec spec) : spec_(std::move(spec)) {}
  ImageCopy(const ImageCopy&) = delete;
  ImageCopy& operator=(const ImageCopy&) = delete;
  ~ImageCopy() { pause(); }

  // Opens everything for a copy that begins. 0 or a negative errno, with the step that failed.
  int create(const char*& step);
  // Takes up what another process has left. A copy that cannot go on fails, which is no error here; -EPROTO
  // or -ENOENT when there is nothing to take up.
  int resume();
  // From now on it counts. While nobody writes to the source. 0 or a negative errno.
  int begin();
  // Starts the thread, if there is something to do. 0 or a negative errno.
  int run();
  // Ends the thread; nothing that waits may go on. No longer than a chunk takes, or a sync of the target.
  void pause();
  // Ends the copy for good: nothing waits for it any more. 0, or a negative errno when that cannot be
  // recorded: what waits goes on waiting then.
  int cancel();
  CopyStatus status() const;

  // For the queues of the device over the source. Whether the range may be changed.
  bool lets_change(uint64_t offset_bytes, uint64_t length_bytes) const;
  // Copies this range before others. Who asks hears of its end by `wake`, even if that is now.
  void hurry(uint64_t offset_bytes, uint64_t length_bytes);
  // Whether it holds nothing back, and never will.
  bool ended() const { return ended_.load(std::memory_order_acquire); }
  // Called from the copy's thread, or `cancel`; null for nobody. Must not block. The old one is not called
  // any more once this returns.
  void set_wake(std::function<void()> wake);

 private:
  struct Range {
    uint64_t first;
    uint64_t end;
  };
  int open_files(const char*& step);
  int open_again();
  void close_files();
  void work();
  void copy_all();
  uint64_t next_chunk();
  uint64_t next_hurried();
  int copy_chunk(uint64_t chunk, const char*& step);
  int copy_data(uint64_t offset_bytes, uint64_t end_bytes, const char*& step);
  int skip_hole(uint64_t chunk, uint64_t data_bytes);
  void finish();
  void fail(int error, const char* step);
  int record_failure(const std::string& reason);
  void end(CopyState state, const std::string& reason);
  Range chunks_of(uint64_t offset_bytes, uint64_t length_bytes) const;
  uint64_t end_of(uint64_t chunk) const;

  const CopySpec spec_;
  CopyProgress progress_;
  UniqueFd source_;
  UniqueFd target_;
  Mapping buffer_;
  uint64_t cursor_ = 0;
  uint64_t unsynced_bytes_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> ended_{false};

  mutable std::mutex mutex_;
  CopyState state_ = CopyState::starting;
  std::string reason_;
  // What somebody waits for: pieces, and ranges so long that they would keep pieces waiting.
  std::array<std::deque<Range>, 2> hurried_;
  std::function<void()> wake_;

  std::mutex life_mutex_;  // run and pause, one at a time
  Thread thread_;
};

using SharedCopy = std::shared_ptr<ImageCopy>;

}  // namespace ublk
