#include "buffers.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace ublk {

int Buffers::allocate(Ring& ring, uint16_t count, uint32_t size_bytes, bool shared) {
  const size_t length_bytes = size_t{count} * size_bytes;
  auto memory = std::make_shared<Mapping>();
  const int result = memory->map(length_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (result < 0) return result;
  memory_ = std::move(memory);
  // One touched byte would make a huge page resident, which is more than the whole device shall hold.
  ::madvise(memory_->data(), length_bytes, MADV_NOHUGEPAGE);
  // Locked, because paging one of these in could need the very device it serves. A user without CAP_IPC_LOCK
  // is bound by RLIMIT_MEMLOCK and serves unlocked.
  if (::mlock2(memory_->data(), length_bytes, MLOCK_ONFAULT) < 0 && errno != EPERM &&
      (errno != ENOMEM || ::geteuid() == 0)) {
    return -errno;
  }
  size_bytes_ = size_bytes;
  const bool has_table = shared && ring.register_empty_buffers(count) == 0;
  indexes_.assign(count, has_table ? not_asked : no_index);
  return 0;
}

int32_t Buffers::index_of(Ring& ring, uint16_t number) {
  int32_t& index = indexes_[number];
  // Refused above the user's memory limit, where plain reads and writes do the same.
  if (index == not_asked) {
    index = ring.register_buffer(number, {at(number), size_bytes_}) == 0 ? number : no_index;
  }
  return index;
}

}  // namespace ublk
