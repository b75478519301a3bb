// Another target with faults in it: late, wrong, half or no answers, and the end of the process at a chosen
// point.
#include <linux/time_types.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "abi.hpp"
#include "fault_plan.hpp"
#include "target.hpp"

namespace ublk {

namespace {

// The fault of the request that a tag works on.
struct FaultSlot {
  Fault fault;
  Request* hung = nullptr;
  bool delaying = false;
  uint64_t length_bytes = 0;  // tear: of the whole request
  __kernel_timespec delay = {};
};

struct FaultState : TargetState {
  FaultState(uint16_t depth, uint32_t seen) : slots(depth), generation(seen) {}

  std::vector<FaultSlot> slots;
  uint32_t generation;
  bool dies_after_commit = false;
};

FaultState& state_of(TargetQueue& queue) {
  return static_cast<FaultState&>(*queue.state);
}

[[noreturn]] void die() {
  ::kill(::getpid(), SIGKILL);
  while (true) ::pause();
}

bool dies_at(const FaultSlot& slot, DeathPoint point) {
  return slot.fault.kind == FaultKind::die && slot.fault.value == static_cast<uint32_t>(point);
}

int open_fault(const TargetSpec& spec, Target& target, const char*& step) {
  step = "read the faults";
  if (spec.fault == nullptr || spec.fault_over == TargetKind::fault || spec.fault_over == TargetKind::js) {
    return -EINVAL;
  }
  const TargetOps& inner = target_ops(spec.fault_over);
  target.inner = &inner;
  target.fault = spec.fault;
  target.logical_block_bytes = spec.logical_block_bytes;
  return inner.open(spec, target, step);
}

int open_fault_queue(const Target& target, TargetQueue& queue, const QueueShape& shape) {
  queue.state = std::make_unique<FaultState>(shape.depth, target.fault->generation());
  return 0;
}

// What the request is answered with once the inner target is done.
int64_t settle(TargetQueue& queue, Request& request, int64_t result) {
  FaultState& state = state_of(queue);
  FaultSlot& slot = state.slots[request.tag];
  if (slot.fault.kind == FaultKind::tear) {
    request.length_bytes = slot.length_bytes;
    return result < 0 ? result : -EIO;
  }
  if (dies_at(slot, DeathPoint::after_io)) die();
  if (dies_at(slot, DeathPoint::after_commit)) state.dies_after_commit = true;
  return result;
}

int64_t run_inner(const Target& target, TargetQueue& queue, Request& request) {
  const int64_t result = target.inner->queue_io(target, queue, request);
  return result == answer_later ? answer_later : settle(queue, request, result);
}

int64_t begin_delay(TargetQueue& queue, const Request& request, FaultSlot& slot) {
  io_uring_sqe* sqe = queue.next_sqe();
  if (sqe == nullptr) return -EIO;
  slot.delaying = true;
  slot.delay = {.tv_sec = slot.fault.value / 1000, .tv_nsec = (slot.fault.value % 1000) * 1'000'000LL};
  io_uring_prep_timeout(sqe, &slot.delay, 0, 0);
  sqe->user_data = to_user_data(Mark::target_io, request.tag);
  return answer_later;
}

// A disk tears between its blocks, and direct I/O takes whole blocks only.
int64_t begin_torn_write(const Target& target, TargetQueue& queue, Request& request, FaultSlot& slot) {
  const uint64_t stored_bytes = slot.fault.value / target.logical_block_bytes * target.logical_block_bytes;
  if (request.operation != abi::op_write || stored_bytes == 0) return -EIO;
  slot.length_bytes = request.length_bytes;
  request.length_bytes = std::min(request.length_bytes, stored_bytes);
  return run_inner(target, queue, request);
}

int64_t queue_fault_io(const Target& target, TargetQueue& queue, Request& request) {
  FaultSlot& slot = state_of(queue).slots[request.tag];
  slot.fault = target.fault->choose(request);
  switch (slot.fault.kind) {
    case FaultKind::error:
      return -static_cast<int64_t>(slot.fault.value);
    case FaultKind::delay:
      return begin_delay(queue, request, slot);
    case FaultKind::tear:
      return begin_torn_write(target, queue, request, slot);
    case FaultKind::hang:
      slot.hung = &request;
      return answer_later;
    case FaultKind::die:
      if (dies_at(slot, DeathPoint::before_io)) die();
      break;
    case FaultKind::none:
      break;
  }
  return run_inner(target, queue, request);
}

int64_t complete_fault_io(const Target& target, TargetQueue& queue, Request& request, int32_t result) {
  FaultSlot& slot = state_of(queue).slots[request.tag];
  if (slot.delaying) {
    slot.delaying = false;
    return run_inner(target, queue, request);
  }
  const int64_t answer = target.inner->complete_io(target, queue, request, result);
  return answer == answer_later ? answer_later : settle(queue, request, answer);
}

void end_fault_pass(const Target&, TargetQueue& queue) {
  if (!state_of(queue).dies_after_commit) return;
  queue.submit();
  die();
}

// Hung requests go on with other rules. A queue that ends leaves them to the next server.
void look_at_hung(const Target& target, TargetQueue& queue) {
  FaultState& state = state_of(queue);
  const uint32_t generation = target.fault->generation();
  if (generation == state.generation && !queue.draining()) return;
  state.generation = generation;
  for (FaultSlot& slot : state.slots) {
    Request* request = std::exchange(slot.hung, nullptr);
    if (request == nullptr) continue;
    if (queue.draining()) {
      queue.abandon(request->tag);
      continue;
    }
    const int64_t result = run_inner(target, queue, *request);
    if (result != answer_later) queue.answer(request->tag, result);
  }
}

int grow_inner(const TargetSpec& spec, Target& target, uint64_t size_bytes) {
  return target.inner->grow == nullptr ? -EOPNOTSUPP : target.inner->grow(spec, target, size_bytes);
}

int sync_inner(const Target& target) {
  return target.inner->sync == nullptr ? 0 : target.inner->sync(target);
}

}  // namespace

const TargetOps fault_target{
    .name = "fault",
    .open = open_fault,
    .queue_io = queue_fault_io,
    .complete_io = complete_fault_io,
    .open_queue = open_fault_queue,
    .end_pass = end_fault_pass,
    .on_bell = look_at_hung,
    .grow = grow_inner,
    .sync = sync_inner,
};

}  // namespace ublk
