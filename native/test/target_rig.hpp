#pragma once

#include <cstdint>
#include <string>

#include "abi.hpp"
#include "mapping.hpp"
#include "ring.hpp"
#include "target.hpp"

namespace ublk {

// A target with a real ring under it and no queue above: one request at a time, to its end.
class TargetRig {
 public:
  static constexpr uint64_t buffer_bytes = 1 << 20;

  explicit TargetRig(const TargetSpec& spec);

  // What open() of the target answered, and the step it was at.
  int open_result() const { return open_result_; }
  const char* step() const { return step_; }
  const Target& target() const { return target_; }

  int64_t run(uint8_t operation, uint64_t offset_bytes, uint64_t length_bytes, uint32_t flags = 0);
  // As a WRITE and a READ request with these bytes.
  int64_t write(uint64_t offset_bytes, const std::string& bytes, uint32_t flags = 0);
  std::string read(uint64_t offset_bytes, uint64_t length_bytes);
  // The result of that READ alone.
  int64_t read_result(uint64_t offset_bytes, uint64_t length_bytes);
  // The ring entry that the request would become; it is not sent. Once for each rig.
  io_uring_sqe entry(uint8_t operation, uint32_t flags = 0);
  // What the request's buffer holds now.
  std::string buffer(uint64_t length_bytes) const;

 private:
  static constexpr uint32_t deadline_ms = 20'000;
  int64_t wait_for_answer();

  Target target_;
  Mapping buffer_;
  Ring ring_;
  Payload payload_;
  TargetQueue queue_;
  Request request_;
  const char* step_ = "";
  int open_result_ = 0;
};

std::string pattern(uint64_t length_bytes, uint32_t seed);

}  // namespace ublk
