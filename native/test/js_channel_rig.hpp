#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "js_channel.hpp"
#include "target.hpp"

namespace ublk {

// One request as a backend gets it.
struct BackendRequest {
  uint16_t tag;
  uint8_t operation;
  uint64_t offset_bytes;
  uint64_t length_bytes;
  std::byte* buffer;
};

// The JavaScript side without JavaScript: the test takes requests and answers them when it likes.
class FakeChannel : public JsChannel {
 public:
  explicit FakeChannel(JsAbilities abilities) : JsChannel(abilities) {}

  // How often the queues have asked for attention.
  int calls() const { return calls_; }
  // What has been announced and not been taken, of all lanes.
  std::vector<BackendRequest> take();
  // Gives answers in one go to the lane of the queue that was opened as the `index`th.
  bool answer(const std::vector<std::pair<uint16_t, int32_t>>& answers, size_t index = 0);
  std::shared_ptr<JsLane> lane(size_t index) { return lanes_to_serve()[index]; }

 protected:
  void call_backend() override { calls_++; }

 private:
  std::atomic<int> calls_{0};
};

Target js_target_on(const std::shared_ptr<JsChannel>& channel, bool read_only = false);

}  // namespace ublk
