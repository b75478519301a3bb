#include "js_channel_rig.hpp"

#include <gtest/gtest.h>

namespace ublk {

std::vector<BackendRequest> FakeChannel::take() {
  std::vector<BackendRequest> taken;
  for (const auto& lane : lanes_to_serve()) {
    const size_t count = lane->take_requests();
    for (size_t i = 0; i < count; i++) {
      const double* field = &lane->requests()[i * JsLane::request_fields];
      taken.push_back({.tag = static_cast<uint16_t>(field[0]),
                       .operation = static_cast<uint8_t>(field[1]),
                       .offset_bytes = static_cast<uint64_t>(field[2]),
                       .length_bytes = static_cast<uint64_t>(field[3]),
                       .buffer = lane->memory()->data() + static_cast<size_t>(field[4])});
    }
  }
  return taken;
}

bool FakeChannel::answer(const std::vector<std::pair<uint16_t, int32_t>>& answers, size_t index) {
  const std::shared_ptr<JsLane> opened = lane(index);
  for (size_t i = 0; i < answers.size(); i++) {
    opened->answers()[i * JsLane::answer_fields] = answers[i].first;
    opened->answers()[i * JsLane::answer_fields + 1] = answers[i].second;
  }
  return opened->give_answers(answers.size());
}

Target js_target_on(const std::shared_ptr<JsChannel>& channel, bool read_only) {
  Target target;
  const char* step = "";
  TargetSpec spec = {.kind = TargetKind::js, .size_bytes = 1 << 30, .read_only = read_only, .discard = true};
  spec.js = channel;
  target.ops = &target_ops(spec.kind);
  EXPECT_EQ(target.ops->open(spec, target, step), 0) << step;
  return target;
}

}  // namespace ublk
