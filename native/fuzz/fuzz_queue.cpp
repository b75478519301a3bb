#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "fake_driver.hpp"
#include "fuzz.hpp"
#include "queue.hpp"

namespace ublk {

namespace {

constexpr uint16_t depth = 4;
constexpr uint32_t max_io_bytes = 16 * 1024;
constexpr uint64_t size_bytes = 256 * 1024;
constexpr int lowest_errno = -4095;

// One request of the input, or an answer of the driver that is none.
struct Step {
  uint8_t tag;
  uint8_t kind;
  uint16_t flags;
  uint32_t sectors;
  uint64_t start_sector;
};

void demand(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz_queue: %s\n", what);
  std::abort();
}

// The block layer refuses what lies beyond the end of a disk before any driver sees it; everything else is
// open.
void keep_inside(abi::IoDesc& request) {
  constexpr uint64_t sector_count = size_bytes >> 9;
  request.start_sector %= sector_count;
  const uint64_t sectors_left = sector_count - request.start_sector;
  if (request.nr_sectors > sectors_left) request.nr_sectors = static_cast<uint32_t>(sectors_left);
}

// A file of the device's size in memory, which both targets serve.
class Image {
 public:
  Image() : file_(::memfd_create("fuzz-image", MFD_CLOEXEC)) {
    demand(::ftruncate(file_.get(), size_bytes) == 0, "no image could be made");
  }

  std::string path() const { return "/proc/self/fd/" + std::to_string(file_.get()); }
  bool kept_its_size() const {
    struct stat status = {};
    return ::fstat(file_.get(), &status) == 0 && status.st_size == static_cast<off_t>(size_bytes);
  }

 private:
  UniqueFd file_;
};

Target open_target(TargetKind kind, const Image& image) {
  Target target;
  const char* step = "";
  target.ops = &target_ops(kind);
  const TargetSpec spec = {
      .kind = kind, .path = image.path(), .size_bytes = size_bytes, .direct = false, .discard = true};
  demand(target.ops->open(spec, target, step) == 0, "the target cannot be opened");
  return target;
}

class Session {
 public:
  explicit Session(const Target& target)
      : queue_({.device_id = 1,
                .queue_id = 0,
                .depth = depth,
                .max_io_bytes = max_io_bytes,
                .char_fd = driver_.char_fd(),
                .target = &target,
                .cpu_mask = {}},
               {.on_io_error = [](const IoError&) {}, .on_ended = [] {}}) {
    demand(queue_.start().ok(), "the queue does not start");
    driver_.take_commands(depth);
  }

  void play(const Step& step) {
    const uint16_t tag = step.tag % depth;
    while (requests_[tag] || retired_[tag]) {
      if (retired_[tag]) return;
      take_answer();
    }
    if (step.kind == 0) {
      retired_[tag] = true;
      driver_.post(0, tag, -static_cast<int32_t>(step.sectors % 4096) - 1);
      return;
    }
    abi::IoDesc request = {};
    request.op_flags = (step.kind % 8) | uint32_t{step.flags} << 8;
    request.nr_sectors = step.sectors;
    request.start_sector = step.start_sector;
    keep_inside(request);
    requests_[tag] = request;
    driver_.deliver(0, tag, request);
    in_flight_++;
  }

  void end() {
    while (in_flight_ > 0) take_answer();
    queue_.drain();
    queue_.join();
  }

 private:
  void take_answer() {
    const std::optional<FakeDriver::Command> command = driver_.take_command();
    demand(command && command->io.tag < depth, "a request got no answer");
    std::optional<abi::IoDesc>& request = requests_[command->io.tag];
    demand(request.has_value(), "an answer came for no request");
    check(*request, command->io.result);
    request.reset();
    in_flight_--;
  }

  static void check(const abi::IoDesc& request, int32_t result) {
    const uint64_t length_bytes = uint64_t{request.nr_sectors} << 9;
    const bool moves_data = abi::op(request) == abi::op_read || abi::op(request) == abi::op_write;
    demand(result >= lowest_errno, "a result is no errno");
    if (!moves_data || result < 0) return;
    demand(length_bytes <= max_io_bytes, "more was moved than the buffer holds");
    demand(static_cast<uint64_t>(result) <= length_bytes, "more was moved than was asked for");
  }

  FakeDriver driver_;
  Queue queue_;
  std::optional<abi::IoDesc> requests_[depth];
  bool retired_[depth] = {};
  uint32_t in_flight_ = 0;
};

void play_on(TargetKind kind, std::span<const uint8_t> input) {
  const Image image;
  const Target target = open_target(kind, image);
  Session session(target);
  for (size_t at = 0; at + sizeof(Step) <= input.size(); at += sizeof(Step)) {
    Step step;
    std::memcpy(&step, input.data() + at, sizeof(step));
    session.play(step);
  }
  session.end();
  demand(image.kept_its_size(), "the image has another size now");
}

}  // namespace

void fuzz_queue(std::span<const uint8_t> input) {
  if (input.empty()) return;
  const TargetKind kind = input[0] % 2 == 0 ? TargetKind::file : TargetKind::memory;
  play_on(kind, input.subspan(1));
}

}  // namespace ublk
