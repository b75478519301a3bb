#include "refused_flags.hpp"

#include <liburing.h>

#include <atomic>

// Rings are made on several threads.
static std::atomic<uint32_t> refused_flags = 0;
static std::atomic<int> refusal = 0;
static std::atomic<int> attempt_count = 0;

extern "C" int __real_io_uring_queue_init_params(unsigned entries, io_uring* ring, io_uring_params* params);
extern "C" int __wrap_io_uring_queue_init_params(unsigned entries, io_uring* ring, io_uring_params* params) {
  attempt_count++;
  if ((params->flags & refused_flags) != 0) return refusal;
  return __real_io_uring_queue_init_params(entries, ring, params);
}

RefusedFlags::RefusedFlags(uint32_t flags, int error) {
  refused_flags = flags;
  refusal = error;
  attempt_count = 0;
}

RefusedFlags::~RefusedFlags() {
  refused_flags = 0;
}

int RefusedFlags::attempts() const {
  return attempt_count;
}
