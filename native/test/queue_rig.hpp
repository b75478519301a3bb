#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "fake_driver.hpp"
#include "queue.hpp"
#include "target.hpp"

namespace ublk {

// One started queue over a fake driver, its tags fetched, and a notebook of its events.
class QueueRig {
 public:
  static constexpr uint32_t max_io_bytes = 64 * 1024;

  QueueRig(const Target& target, uint16_t depth, uint16_t queue_id = 0, std::vector<std::byte> cpu_mask = {});
  QueueRig(const Target& target, uint16_t depth, const Reasons& reasons);
  QueueRig(const Target& target, uint16_t depth, Gate* gate, Limiter* limiter)
      : QueueRig(target, depth, Reasons{.gate = gate, .limiter = limiter}) {}
  QueueRig(const Target& target, uint16_t depth, DataMode mode);
  // A queue that stalls its load before it ends.
  static std::unique_ptr<QueueRig> stalling(const Target& target, uint16_t depth);

  FakeDriver& driver() { return driver_; }
  Queue& queue() { return *queue_; }
  // The tag's buffer, as the queue told the driver.
  std::byte* buffer(uint16_t tag) const { return reinterpret_cast<std::byte*>(fetches_[tag].io.addr); }
  const std::vector<FakeDriver::Command>& fetches() const { return fetches_; }

  void deliver(uint16_t tag, uint8_t operation, uint64_t sector, uint32_t sectors, uint32_t flags = 0);
  // deliver() and the result that the queue commits for it.
  int32_t serve(uint16_t tag, uint8_t operation, uint64_t sector, uint32_t sectors, uint32_t flags = 0);
  // Expects the next command to be this one, for this tag.
  FakeDriver::Command expect(uint32_t operation, uint16_t tag);
  // Expects the commit of this tag to be the next command.
  int32_t committed(uint16_t tag);

  bool wait_for_end();
  int ends() const;
  std::vector<IoError> errors() const;

 private:
  QueueRig() = default;
  QueueSpec spec_of(const Target& target, uint16_t depth) const;
  void start(QueueSpec spec);

  FakeDriver driver_;
  mutable std::mutex mutex_;
  std::condition_variable ended_;
  int end_count_ = 0;
  std::vector<IoError> errors_;
  uint16_t queue_id_ = 0;
  std::vector<FakeDriver::Command> fetches_;
  std::unique_ptr<Queue> queue_;  // last: its thread writes to the above
};

// A target whose answers wait until the test lets them go, one by one.
class HoldingTarget {
 public:
  HoldingTarget();
  const Target& target() const { return target_; }
  void let_go(uint64_t count);

 private:
  Target target_;
};

Target null_target_of(uint64_t size_bytes);
Target file_target_on(const std::string& path, uint64_t size_bytes);

}  // namespace ublk
