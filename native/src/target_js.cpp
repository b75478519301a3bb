// A backend written in JavaScript: requests leave the queue's thread in batches, answers come back through
// its bell. Knows nothing of how JavaScript is reached.
#include <cerrno>

#include "abi.hpp"
#include "js_channel.hpp"
#include "js_lane.hpp"
#include "target.hpp"

namespace ublk {

namespace {

constexpr uint32_t sync_deadline_ms = 30'000;

struct JsState : TargetState {
  explicit JsState(std::shared_ptr<JsLane> opened) : lane(std::move(opened)) {}
  ~JsState() override { lane->close(); }

  const std::shared_ptr<JsLane> lane;
  bool has_batch = false;
};

JsState& state_of(TargetQueue& queue) {
  return static_cast<JsState&>(*queue.state);
}

int open_js(const TargetSpec& spec, Target& target, const char*& step) {
  step = "reach the backend";
  if (spec.js == nullptr) return -EINVAL;
  const JsAbilities& abilities = spec.js->abilities();
  target.js = spec.js;
  target.size_bytes = spec.size_bytes;
  target.read_only = spec.read_only;
  target.discard = spec.discard && abilities.trim;
  target.write_zeroes = abilities.write_zeroes;
  target.volatile_cache = abilities.flush;
  return 0;
}

int open_js_queue(const Target& target, TargetQueue& queue, const QueueShape& shape) {
  auto lane = std::make_shared<JsLane>(queue, shape);
  target.js->add(lane);
  queue.state = std::make_unique<JsState>(std::move(lane));
  return 0;
}

// What the backend has no method for is not announced to the kernel. A device that was made by another
// backend may bring it all the same.
bool can_do(const Target& target, uint8_t operation) {
  switch (operation) {
    case abi::op_read:
    case abi::op_write:
    case abi::op_flush:
      return true;
    case abi::op_discard:
      return target.discard;
    case abi::op_write_zeroes:
      return target.write_zeroes;
    default:
      return false;
  }
}

int64_t queue_js_io(const Target& target, TargetQueue& queue, Request& request) {
  const bool changes = request.operation != abi::op_read && request.operation != abi::op_flush;
  if (changes && target.read_only) return -EROFS;
  if (!can_do(target, request.operation)) return -EOPNOTSUPP;
  if (request.operation == abi::op_flush && !target.volatile_cache) return 0;
  JsState& state = state_of(queue);
  state.lane->send(request);
  state.has_batch = true;
  return answer_later;
}

int64_t complete_js_io(const Target&, TargetQueue&, Request&, int32_t) {
  return -EIO;
}

void announce_batch(const Target& target, TargetQueue& queue) {
  JsState& state = state_of(queue);
  if (!state.has_batch) return;
  state.has_batch = false;
  target.js->announce();
}

void take_js_answers(const Target&, TargetQueue& queue) {
  JsLane& lane = *state_of(queue).lane;
  if (lane.send_flush()) state_of(queue).has_batch = true;
  lane.take_answers([&](const Request& request, int32_t result) {
    const bool transfers = request.operation == abi::op_read || request.operation == abi::op_write;
    const int64_t success = transfers ? static_cast<int64_t>(request.length_bytes) : 0;
    queue.answer(request.tag, result < 0 ? result : success);
  });
  if (!queue.draining() || !lane.backend_lost()) return;
  lane.take_unanswered([&](uint16_t tag) { queue.abandon(tag); });
}

int sync_js(const Target& target) {
  return target.volatile_cache && !target.read_only ? target.js->flush(sync_deadline_ms) : 0;
}

}  // namespace

const TargetOps js_target{
    .name = "js",
    .open = open_js,
    .queue_io = queue_js_io,
    .complete_io = complete_js_io,
    .open_queue = open_js_queue,
    .end_pass = announce_batch,
    .on_bell = take_js_answers,
    .sync = sync_js,
};

}  // namespace ublk
