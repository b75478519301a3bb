#pragma once

#include <cstdint>

// Makes io_uring_setup answer as an older kernel, or a forbidding one, would. The linker routes liburing's
// set-up call through refused_flags.cpp.
class RefusedFlags {
 public:
  RefusedFlags(uint32_t flags, int error);
  RefusedFlags(const RefusedFlags&) = delete;
  RefusedFlags& operator=(const RefusedFlags&) = delete;
  ~RefusedFlags();

  // How often a ring was asked for since.
  int attempts() const;
};
