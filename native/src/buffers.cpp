#include "buffers.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace ublk {

int Buffers::allocate(std::span<Tag> tags, uint32_t max_io_bytes) {
  const size_t length_bytes = tags.size() * max_io_bytes;
  auto memory = std::make_shared<Mapping>();
  const int result = memory->map(length_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (result < 0) return result;
  memory_ = std::move(memory);
  // Locked, because paging one of these in could need the very device it serves. A user without CAP_IPC_LOCK
  // is bound by RLIMIT_MEMLOCK and serves unlocked.
  if (::mlock(memory_->data(), length_bytes) < 0 && errno != EPERM && (errno != ENOMEM || ::geteuid() == 0)) {
    return -errno;
  }
  for (size_t i = 0; i < tags.size(); i++) tags[i].request.buffer = memory_->data() + i * max_io_bytes;
  return 0;
}

void Buffers::share_with(Ring& ring, TargetQueue& queue) {
  // Refused above 1 GiB or the user's memory limit, where plain reads and writes do the same.
  if (ring.register_buffer({memory_->data(), memory_->size()}) == 0) queue.use_fixed_buffers();
}

}  // namespace ublk
