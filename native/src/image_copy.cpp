#include "image_copy.hpp"

#include <fcntl.h>
#include <linux/ioprio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "backing.hpp"
#include "io_flusher.hpp"

namespace ublk {

namespace {

constexpr uint64_t chunk_bytes = CopyProgress::chunk_bytes;
// What direct I/O and every file system of a pool can address.
constexpr uint64_t unit_bytes = 4096;
constexpr uint64_t no_chunk = UINT64_MAX;
// More than that is not one write which somebody waits for, but a range that is given back or zeroed.
constexpr uint64_t piece_chunks_max = 16;
// So much may be written before the kernel is asked to write it back: a copy shall not fill the page cache.
constexpr uint64_t unsynced_bytes_max = 16 * 1024 * 1024;
constexpr long record_retry_ms = 100;

int identify(int fd, FileIdentity& identity) {
  struct stat info = {};
  if (::fstat(fd, &info) < 0) return -errno;
  identity = {.device = info.st_dev, .inode = info.st_ino};
  return 0;
}

// Below the I/O of devices where the scheduler of the disk knows priorities. Glibc has no wrapper.
void take_low_priority() {
  ::syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 7));
}

int read_all(int fd, std::byte* buffer, uint64_t wanted_bytes, uint64_t asked_bytes, uint64_t offset_bytes) {
  uint64_t done_bytes = 0;
  while (done_bytes < wanted_bytes) {
    const ssize_t got = ::pread(fd, buffer + done_bytes, asked_bytes - done_bytes,
                                static_cast<off_t>(offset_bytes + done_bytes));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -errno;
    if (got == 0) return -ENODATA;
    done_bytes += static_cast<uint64_t>(got);
  }
  return 0;
}

int write_all(int fd, const std::byte* buffer, uint64_t length_bytes, uint64_t offset_bytes) {
  uint64_t done_bytes = 0;
  while (done_bytes < length_bytes) {
    const ssize_t put = ::pwrite(fd, buffer + done_bytes, length_bytes - done_bytes,
                                 static_cast<off_t>(offset_bytes + done_bytes));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return put < 0 ? -errno : -ENOSPC;
    done_bytes += static_cast<uint64_t>(put);
  }
  return 0;
}

// Where data begins or ends from there on. A file system that cannot tell has data only.
int64_t seek(int fd, uint64_t offset_bytes, int what) {
  const off_t found = ::lseek(fd, static_cast<off_t>(offset_bytes), what);
  if (found >= 0) return found;
  if (errno == ENXIO) return INT64_MAX;
  if (errno != EINVAL && errno != EOPNOTSUPP) return -errno;
  return what == SEEK_DATA ? static_cast<int64_t>(offset_bytes) : INT64_MAX;
}

}  // namespace

int ImageCopy::create(const char*& step) {
  CopyIdentity identity = {
      .size_bytes = spec_.size_bytes, .source = {}, .target = {}, .boot_id = spec_.boot_id};
  int result = open_files(step);
  if (result == 0) result = identify(source_.get(), identity.source);
  if (result == 0) result = identify(target_.get(), identity.target);
  if (result < 0) return result;
  step = "write the progress of the copy";
  return progress_.create(spec_.progress_path, identity);
}

int ImageCopy::open_files(const char*& step) {
  step = "open the image";
  Backing source;
  const int opened = open_backing({.kind = TargetKind::file,
                                   .path = spec_.source_path,
                                   .size_bytes = spec_.size_bytes,
                                   .direct = spec_.direct,
                                   .read_only = true},
                                  source);
  if (opened < 0) return opened;
  source_ = std::move(source.file);
  step = "open the target";
  target_ = UniqueFd(::open(spec_.target_path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!target_.valid()) return -errno;
  const int checked = check_backing_size(target_.get(), spec_.size_bytes);
  if (checked < 0) return checked;
  step = "have memory for the copy";
  return buffer_.map(chunk_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

int ImageCopy::resume() {
  const int opened = progress_.open(spec_.progress_path);
  if (opened < 0) return opened;
  if (progress_.state() != CopyState::copying) {
    if (progress_.state() != CopyState::starting) end(progress_.state(), progress_.reason());
    return 0;
  }
  const std::lock_guard lock(mutex_);
  state_ = CopyState::copying;
  return 0;
}

// For a copy that was begun elsewhere: on the thread, since a failure may take time to be recorded.
int ImageCopy::open_again() {
  const char* step = "";
  if (progress_.identity().boot_id != spec_.boot_id) {
    fail(-ESTALE, "go on after the machine has restarted: begin another copy");
    return -ESTALE;
  }
  FileIdentity source;
  FileIdentity target;
  int result = open_files(step);
  if (result == 0) result = identify(source_.get(), source);
  if (result == 0) result = identify(target_.get(), target);
  if (result == 0 && (source != progress_.identity().source || target != progress_.identity().target)) {
    step = "go on with another file of the same path";
    result = -ESTALE;
  }
  if (result < 0) fail(result, step);
  return result;
}

int ImageCopy::begin() {
  const int written = progress_.set_state(CopyState::copying);
  if (written < 0) return written;
  const std::lock_guard lock(mutex_);
  state_ = CopyState::copying;
  return 0;
}

int ImageCopy::run() {
  const std::lock_guard life(life_mutex_);
  if (ended() || status().state != CopyState::copying || thread_.running()) return 0;
  stopping_ = false;
  return thread_.start("ublk-copy", [this] { work(); });
}

void ImageCopy::pause() {
  const std::lock_guard life(life_mutex_);
  stopping_ = true;
  thread_.join();
  close_files();
}

// Whoever holds the object longer, such as a garbage collector, must not hold the files and their space.
void ImageCopy::close_files() {
  source_.reset();
  target_.reset();
  buffer_.reset();
}

int ImageCopy::cancel() {
  pause();
  if (ended()) return 0;
  const int recorded = record_failure("cancelled");
  if (recorded == 0) end(CopyState::failed, "cancelled");
  return recorded;
}

CopyStatus ImageCopy::status() const {
  const std::lock_guard lock(mutex_);
  return {.state = state_, .copied_bytes = progress_.copied_bytes(), .reason = reason_};
}

bool ImageCopy::lets_change(uint64_t offset_bytes, uint64_t length_bytes) const {
  if (ended()) return true;
  const Range range = chunks_of(offset_bytes, length_bytes);
  return progress_.has_all(range.first, range.end);
}

void ImageCopy::hurry(uint64_t offset_bytes, uint64_t length_bytes) {
  const Range range = chunks_of(offset_bytes, length_bytes);
  const std::lock_guard lock(mutex_);
  if (!lets_change(offset_bytes, length_bytes)) {
    hurried_[range.end - range.first > piece_chunks_max ? 1 : 0].push_back(range);
  } else if (wake_) {
    // It came to be copied after the caller had asked, and nobody will look at the range any more.
    wake_();
  }
}

void ImageCopy::set_wake(std::function<void()> wake) {
  const std::lock_guard lock(mutex_);
  wake_ = std::move(wake);
}

ImageCopy::Range ImageCopy::chunks_of(uint64_t offset_bytes, uint64_t length_bytes) const {
  const uint64_t count = progress_.chunk_count();
  const uint64_t end = (offset_bytes + length_bytes + chunk_bytes - 1) / chunk_bytes;
  return {.first = std::min(offset_bytes / chunk_bytes, count), .end = std::min(end, count)};
}

uint64_t ImageCopy::end_of(uint64_t chunk) const {
  return std::min((chunk + 1) * chunk_bytes, spec_.size_bytes);
}

// Its writes are what I/O of the device waits for, so it is as much a server as a queue's thread is.
void ImageCopy::work() {
  become_io_flusher();
  take_low_priority();
  copy_all();
  close_files();
}

void ImageCopy::copy_all() {
  if (!source_.valid() && open_again() < 0) return;
  while (!stopping_) {
    const uint64_t chunk = next_chunk();
    if (chunk == no_chunk) return finish();
    const char* step = "";
    const int copied = copy_chunk(chunk, step);
    if (copied < 0) return fail(copied, step);
  }
}

uint64_t ImageCopy::next_chunk() {
  const uint64_t hurried = next_hurried();
  if (hurried != no_chunk) return hurried;
  cursor_ = progress_.next_missing(cursor_, progress_.chunk_count());
  return cursor_ < progress_.chunk_count() ? cursor_ : no_chunk;
}

uint64_t ImageCopy::next_hurried() {
  const std::lock_guard lock(mutex_);
  for (std::deque<Range>& ranges : hurried_) {
    while (!ranges.empty()) {
      Range& range = ranges.front();
      range.first = progress_.next_missing(range.first, range.end);
      if (range.first < range.end) return range.first;
      ranges.pop_front();
      if (wake_) wake_();
    }
  }
  return no_chunk;
}

int ImageCopy::copy_chunk(uint64_t chunk, const char*& step) {
  const uint64_t end_bytes = end_of(chunk);
  uint64_t offset_bytes = chunk * chunk_bytes;
  while (offset_bytes < end_bytes) {
    step = "look for data in the image";
    const int64_t data = seek(source_.get(), offset_bytes, SEEK_DATA);
    if (data < 0) return static_cast<int>(data);
    if (static_cast<uint64_t>(data) >= end_bytes) {
      // Nothing of it is copied yet: a hole may be much longer than a chunk.
      step = "write the progress of the copy";
      return skip_hole(chunk, static_cast<uint64_t>(data));
    }
    const int64_t hole = seek(source_.get(), static_cast<uint64_t>(data), SEEK_HOLE);
    if (hole < 0) return static_cast<int>(hole);
    const uint64_t stop_bytes = std::min(static_cast<uint64_t>(hole), end_bytes);
    const int copied = copy_data(static_cast<uint64_t>(data), stop_bytes, step);
    if (copied < 0) return copied;
    offset_bytes = stop_bytes;
  }
  step = "write the progress of the copy";
  return progress_.add(chunk, chunk + 1);
}

// Chunks behind this one which nobody has changed, for they were not copied, and which hold nothing.
int ImageCopy::skip_hole(uint64_t chunk, uint64_t data_bytes) {
  const uint64_t count = progress_.chunk_count();
  const uint64_t end = data_bytes >= spec_.size_bytes ? count : data_bytes / chunk_bytes;
  return progress_.add(chunk, std::max(chunk + 1, end));
}

int ImageCopy::copy_data(uint64_t offset_bytes, uint64_t end_bytes, const char*& step) {
  const uint64_t from_bytes = offset_bytes / unit_bytes * unit_bytes;
  const uint64_t length_bytes = end_bytes - from_bytes;
  const uint64_t asked_bytes = (length_bytes + unit_bytes - 1) / unit_bytes * unit_bytes;
  step = "read the image";
  const int read = read_all(source_.get(), buffer_.data(), length_bytes, asked_bytes, from_bytes);
  if (read < 0) return read;
  step = "write the copy";
  const int written = write_all(target_.get(), buffer_.data(), length_bytes, from_bytes);
  if (written < 0) return written;
  unsynced_bytes_ += length_bytes;
  if (unsynced_bytes_ >= unsynced_bytes_max) {
    ::sync_file_range(target_.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
    unsynced_bytes_ = 0;
  }
  return 0;
}

void ImageCopy::finish() {
  if (::fsync(target_.get()) < 0) return fail(-errno, "make the copy durable");
  ::posix_fadvise(target_.get(), 0, 0, POSIX_FADV_DONTNEED);
  int recorded = progress_.set_state(CopyState::done);
  if (recorded == 0) recorded = progress_.sync();
  if (recorded < 0) return fail(recorded, "write the progress of the copy");
  end(CopyState::done, {});
}

// It is recorded before the source may change, or the next process would go on with a copy of two instants.
void ImageCopy::fail(int error, const char* step) {
  const std::string reason = std::string("cannot ") + step + ": " + std::generic_category().message(-error);
  while (record_failure(reason) < 0) {
    if (stopping_) return;
    const timespec pause = {.tv_sec = 0, .tv_nsec = record_retry_ms * 1'000'000L};
    ::nanosleep(&pause, nullptr);
  }
  end(CopyState::failed, reason);
}

int ImageCopy::record_failure(const std::string& reason) {
  const int recorded = progress_.set_state(CopyState::failed, reason);
  return recorded < 0 && progress_.forget_file() < 0 ? recorded : 0;
}

void ImageCopy::end(CopyState state, const std::string& reason) {
  const std::lock_guard lock(mutex_);
  state_ = state;
  reason_ = reason;
  ended_.store(true, std::memory_order_release);
  hurried_ = {};
  if (wake_) wake_();
}

}  // namespace ublk
