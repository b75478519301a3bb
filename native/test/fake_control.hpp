#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "abi.hpp"
#include "fake_driver.hpp"
#include "ring.hpp"
#include "unique_fd.hpp"

namespace ublk {

// The control side of ublk_drv without the kernel module, beside the data side: stands in for
// /dev/ublk-control and /dev/ublkc12, keeps one device, and notes what happened in which order.
class FakeControl {
 public:
  static constexpr uint32_t device_id = 12;

  explicit FakeControl(FakeDriver& driver);
  FakeControl(const FakeControl&) = delete;
  FakeControl& operator=(const FakeControl&) = delete;
  ~FakeControl();

  // Puts a device there as a dead server has left it.
  void leave_quiesced(const abi::DevInfo& info, const abi::Params& params);
  // The next `times` commands of this kind, or opens of /dev/ublkc12 (command 0), fail instead of acting.
  void refuse(uint32_t command, int error, int times = 1);
  // Commands of this kind act, but their completion does not come until release_withheld().
  void withhold(uint32_t command) { withheld_command_ = command; }
  void release_withheld();
  // The driver does not know these features or parameter types.
  void forget(uint64_t features, uint32_t param_types);

  std::vector<std::string> log() const;
  bool has_device() const;
  abi::DevInfo info() const;
  abi::Params params() const;
  // Descriptors and rings that still held the char device when DEL_DEV came.
  size_t references_at_delete() const;

  // For the linker's wrappers only.
  static FakeControl* active();
  void intercept(io_uring* ring);
  // A descriptor for one of our two paths, a negative errno, or -ENOENT for any other.
  int open(const std::string& path);

 private:
  int answer(uint32_t operation, const abi::CtrlCmd& command);
  int act(uint32_t operation, const abi::CtrlCmd& command);
  int check_path(uint32_t operation, abi::CtrlCmd command);
  int act_on_device(uint32_t operation, const abi::CtrlCmd& command);
  int add(const abi::CtrlCmd& command);
  int start();
  void post(int ring_fd, uint64_t user_data, int result);

  FakeDriver& driver_;
  UniqueFd control_;
  mutable std::mutex mutex_;
  Ring ring_;
  std::vector<std::string> log_;
  std::map<uint32_t, std::pair<int, int>> refusals_;  // command: error, times
  uint32_t withheld_command_ = 0;
  std::vector<std::pair<int, uint64_t>> withheld_;  // ring, user_data
  uint64_t features_ = 0;
  uint32_t param_types_ = 0;
  bool has_device_ = false;
  abi::DevInfo info_;
  abi::Params params_;
  size_t references_at_delete_ = 0;
};

}  // namespace ublk
