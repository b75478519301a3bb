#include "event_log.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace checker {

namespace {

struct Record {
  Event event;
  uint64_t check;
};
static_assert(sizeof(Record) == 32);

uint64_t check_of(const Event& event) {
  uint64_t sum = 0x9e3779b97f4a7c15 ^ static_cast<uint64_t>(event.kind);
  for (const uint64_t part : {uint64_t{event.count}, event.first, event.sequence}) {
    sum = (sum ^ part) * 0xff51afd7ed558ccd;
    sum ^= sum >> 32;
  }
  return sum;
}

}  // namespace

int EventLog::open(const std::string& path) {
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
  return fd_ < 0 ? -errno : 0;
}

int EventLog::append(const Event& event) {
  if (fd_ < 0) return 0;
  const Record record = {event, check_of(event)};
  const ssize_t written = ::write(fd_, &record, sizeof(record));
  if (written < 0) return -errno;
  return written == sizeof(record) ? 0 : -EIO;
}

int read_events(const std::string& path, const std::function<void(const Event&)>& on_event) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  Record record = {};
  ssize_t length = 0;
  while ((length = ::read(fd, &record, sizeof(record))) == sizeof(record)) {
    if (record.check != check_of(record.event)) break;
    on_event(record.event);
  }
  ::close(fd);
  return length < 0 ? -EIO : 0;
}

}  // namespace checker
