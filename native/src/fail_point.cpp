#include "fail_point.hpp"

#include <atomic>
#include <cerrno>
#include <csignal>

#include "abi.hpp"

namespace ublk {

namespace {

struct Name {
  std::string_view step;
  uint32_t operation;
};

constexpr Name names[] = {
    {"ADD_DEV", abi::cmd_add_dev},
    {"SET_PARAMS", abi::cmd_set_params},
    {"START_DEV", abi::cmd_start_dev},
    {"STOP_DEV", abi::cmd_stop_dev},
    {"TRY_STOP_DEV", abi::cmd_try_stop_dev},
    {"DEL_DEV", abi::cmd_del_dev},
    {"START_USER_RECOVERY", abi::cmd_start_user_recovery},
    {"END_USER_RECOVERY", abi::cmd_end_user_recovery},
    {"UPDATE_SIZE", abi::cmd_update_size},
    {"QUIESCE_DEV", abi::cmd_quiesce_dev},
};

constexpr uint64_t inert = 0;

// Operation and moment in one word: a named point is set and met on different threads.
constexpr uint64_t pack(Moment moment, uint32_t operation) {
  return uint64_t{operation} << 1 | (moment == Moment::after ? 1 : 0);
}

std::atomic<uint64_t> fatal_point{inert};

}  // namespace

int die_at(std::string_view point) {
  const size_t colon = point.find(':');
  if (colon == std::string_view::npos) return -EINVAL;
  const std::string_view moment = point.substr(0, colon);
  if (moment != "before" && moment != "after") return -EINVAL;
  for (const Name& name : names) {
    if (name.step != point.substr(colon + 1)) continue;
    fatal_point = pack(moment == "after" ? Moment::after : Moment::before, name.operation);
    return 0;
  }
  return -EINVAL;
}

void reach(Moment moment, uint32_t operation) {
  if (fatal_point.load(std::memory_order_relaxed) == pack(moment, operation)) std::raise(SIGKILL);
}

}  // namespace ublk
