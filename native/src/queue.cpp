#include "queue.hpp"

#include <sched.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <future>
#include <memory>
#include <utility>

#include "abi.hpp"
#include "clock.hpp"
#include "io_flusher.hpp"
#include "mark.hpp"

namespace ublk {

namespace {

// Whoever waits for an answer sends nothing new: that long without a request, and none is on its way, even
// where whoever got the last answers is slow to run.
constexpr uint64_t calm_ns = 100'000'000;
// Whoever does not wait shall not keep the next server from starting.
constexpr uint64_t stall_limit_ns = 1'000'000'000;

}  // namespace

Queue::Queue(QueueSpec spec, QueueEvents events)
    : spec_(std::move(spec)),
      events_(std::move(events)),
      payload_(ring_, {.mode = spec_.mode,
                       .char_fd = spec_.char_fd,
                       .queue_id = spec_.queue_id,
                       .depth = spec_.depth,
                       .max_io_bytes = spec_.max_io_bytes,
                       .target = spec_.target}),
      commands_(ring_, spec_.queue_id, spec_.mode),
      target_queue_(ring_, target_slot, payload_, &bell_, this),
      tags_(spec_.depth),
      admission_({.gate = spec_.gate, .limiter = spec_.limiter, .copies = spec_.copies}, spec_.queue_id,
                 spec_.depth, counters_) {
  for (uint16_t i = 0; i < spec_.depth; i++) tags_[i].request.tag = i;
}

Queue::~Queue() {
  drain();
  join();
}

Status Queue::start() {
  if (!bell_.valid()) return {-EMFILE, "START_QUEUE"};
  const auto prepared = std::make_shared<std::promise<Status>>();
  std::future<Status> outcome = prepared->get_future();
  const std::string name = "ublk" + std::to_string(spec_.device_id) + "-q" + std::to_string(spec_.queue_id);
  const int started = thread_.start(name, [this, prepared] {
    const Status status = prepare();
    prepared->set_value(status);
    if (status.ok()) serve();
    // On the thread that made them: a ring with deferred task work completes its last commands for its owner
    // only.
    ring_.reset();
    target_queue_.state.reset();
    descriptors_.reset();
    payload_.reset();
    commands_.reset();
    bell_.close();
  });
  if (started < 0) return {started, "START_QUEUE"};
  return outcome.get();
}

void Queue::drain() {
  drain_wanted_ = true;
  bell_.ring();
}

// Affinity comes before the first touch of memory, which places it on this thread's NUMA node.
Status Queue::prepare() {
  int result = pin_to_cpus();
  if (result == 0) result = become_io_flusher();
  if (result < 0) return {result, "START_QUEUE"};
  result = create_ring();
  if (result < 0) return {result, "CREATE_RING"};
  result = descriptors_.map(spec_.char_fd, spec_.queue_id, spec_.depth);
  if (result == 0) result = payload_.prepare(tags_.data());
  if (result == 0 && spec_.batch) result = commands_.use_batches(spec_.depth);
  if (result == 0) result = open_target_queue();
  if (result < 0) return {result, "START_QUEUE"};
  broken_ = !bell_.watch(ring_);
  result = fetch_all_tags();
  return Status::of(broken_ ? -EIO : result, "START_QUEUE");
}

int Queue::pin_to_cpus() const {
  if (spec_.cpu_mask.empty()) return 0;
  const auto* mask = reinterpret_cast<const cpu_set_t*>(spec_.cpu_mask.data());
  if (::sched_setaffinity(0, spec_.cpu_mask.size(), mask) == 0) return 0;
  // A container may not be allowed on the CPUs of this hardware queue; serving from elsewhere is slower, not
  // wrong.
  return !spec_.cpus_asked_for && (errno == EINVAL || errno == EPERM) ? 0 : -errno;
}

int Queue::create_ring() {
  // Each tag has at most one command or one target I/O in the ring, and the bell has its own entry.
  const uint32_t entries = spec_.depth + 1U;
  const int created =
      ring_.create({.entries = entries, .completion_entries = 2 * entries, .single_issuer = true});
  if (created < 0) return created;
  const int target_fd = spec_.target->file.valid() ? spec_.target->file.get() : spec_.char_fd;
  const std::array<int, 2> files = {spec_.char_fd, target_fd};
  return ring_.register_files(files);
}

int Queue::open_target_queue() {
  const TargetOps& ops = *spec_.target->ops;
  if (ops.open_queue == nullptr) return 0;
  const QueueShape shape = {.queue_id = spec_.queue_id, .depth = spec_.depth, .buffers = payload_.memory()};
  return ops.open_queue(*spec_.target, target_queue_, shape);
}

int Queue::fetch_all_tags() {
  if (!commands_.fetch_all(tags_)) return -EIO;
  if (commands_.batch() == nullptr) return ring_.submit_and_wait(0);
  // All or nothing, and deliveries only afterwards: a queue that is not ready is given none.
  while (handed_over_ == -EINPROGRESS) {
    const int entered = ring_.submit_and_wait(1);
    if (entered < 0 && entered != -EINTR) return entered;
    for (const Completion& completion : ring_.take_completions()) handle(completion);
  }
  if (handed_over_ < 0) return handed_over_;
  return commands_.batch()->deliver() ? ring_.submit_and_wait(0) : -EIO;
}

void Queue::serve() {
  const TargetOps& ops = *spec_.target->ops;
  while (!done()) {
    const int entered = enter_ring();
    if (entered < 0 && entered != -EINTR && entered != -EAGAIN && entered != -EBUSY && entered != -ETIME)
      broken_ = true;
    now_ns_ = monotonic_ns();
    admission_.look(now_ns_);
    for (const Completion& completion : ring_.take_completions()) handle(completion);
    send_due();
    time_at_once();
    admission_.settle(serving_count_);
    if (ops.end_pass != nullptr) ops.end_pass(*spec_.target, target_queue_);
  }
  // The commits of a drained queue's last requests are still only queued; unsent, the next server would do
  // those requests again.
  if (!broken_) submit();
  if (unanswered_) wait_until_load_stalls();
  admission_.end();
  if (!draining_) events_.on_ended();
}

void Queue::wait_until_load_stalls() {
  const uint64_t end_ns = monotonic_ns() + stall_limit_ns;
  while (!broken_ && commands_.armed_count() != 0 && monotonic_ns() < end_ns) {
    const int entered = ring_.submit_and_wait_for_ns(calm_ns);
    if (entered == -ETIME) return;
    if (entered < 0 && entered != -EINTR) broken_ = true;
    for (const Completion& completion : ring_.take_completions()) handle(completion);
  }
}

void Queue::submit() {
  if (!commands_.flush()) broken_ = true;
  ring_.submit_and_wait(0);
}

int Queue::enter_ring() {
  if (!commands_.flush()) return -EIO;
  const uint64_t next_look_ns = admission_.next_look_ns();
  // A draining queue sends nothing that was held back, so there is nothing to look at.
  if (draining_ || next_look_ns == Admission::never) return ring_.submit_and_wait(1);
  const uint64_t now_ns = monotonic_ns();
  return next_look_ns <= now_ns ? ring_.submit_and_wait(0)
                                : ring_.submit_and_wait_for_ns(next_look_ns - now_ns);
}

bool Queue::done() const {
  if (broken_) return true;
  if (draining_) return serving_count_ == 0;
  return commands_.armed_count() == 0 && serving_count_ == 0 && admission_.empty();
}

void Queue::handle(const Completion& completion) {
  const uint16_t number = tag_of(completion.user_data);
  switch (mark_of(completion.user_data)) {
    case Mark::command:
      handle_command(tags_[number], completion.result);
      break;
    case Mark::target_io:
      handle_target_io(tags_[number], completion.result);
      break;
    case Mark::payload:
      handle_payload(tags_[number], completion.result);
      break;
    case Mark::release:
      broken_ = true;
      break;
    case Mark::batch_prepare:
      commands_.batch()->handed_over(completion);
      handed_over_ = completion.result;
      break;
    case Mark::batch_deliver:
      handle_delivery(completion);
      break;
    case Mark::batch_commit:
      if (!commands_.batch()->committed(completion)) broken_ = true;
      break;
    case Mark::bell:
      handle_bell();
      break;
  }
}

void Queue::handle_target_io(Tag& tag, int32_t result) {
  const int64_t answer = spec_.target->ops->complete_io(*spec_.target, target_queue_, tag.request, result);
  if (answer != answer_later) finish(tag, answer);
}

void Queue::handle_command(Tag& tag, int32_t result) {
  commands_.came_back();
  if (result != abi::io_res_ok && result != abi::io_res_need_get_data) {
    tag.move(TagState::retired);
  } else if (draining_) {
    tag.move(TagState::held);
  } else if (result == abi::io_res_need_get_data) {
    tag.move(TagState::serving);
    if (!commands_.get_data(tag)) broken_ = true;
  } else {
    begin(tag);
  }
}

void Queue::handle_delivery(const Completion& completion) {
  Batch& batch = *commands_.batch();
  for (const uint16_t tag : batch.tags_of(completion)) handle_command(tags_[tag], abi::io_res_ok);
  batch.put_back(completion);
  if ((completion.flags & IORING_CQE_F_MORE) != 0) return;
  // Out of buffers, which are back by now, or out of places for completions.
  if (completion.result >= 0 || completion.result == -ENOBUFS) {
    if (!batch.deliver()) broken_ = true;
  } else {
    retire_armed_tags();
  }
}

void Queue::retire_armed_tags() {
  commands_.end_deliveries();
  for (Tag& tag : tags_) {
    if (tag.state() != TagState::armed) continue;
    commands_.came_back();
    tag.move(TagState::retired);
  }
}

void Queue::handle_payload(Tag& tag, int32_t result) {
  const int64_t brought = payload_.brought(tag.request, result);
  if (brought == 0) send_to_target(tag);
  if (brought < 0) finish(tag, brought);
}

void Queue::handle_bell() {
  if (!bell_.watch(ring_)) broken_ = true;
  if (drain_wanted_) {
    draining_ = true;
    unanswered_ = spec_.stalls_load;
    target_queue_.begin_drain();
  }
  if (spec_.target->ops->on_bell != nullptr) spec_.target->ops->on_bell(*spec_.target, target_queue_);
}

void Queue::begin(Tag& tag) {
  descriptors_.read(tag.request);
  if (admission_.admit(tag, now_ns_)) {
    serve_request(tag);
  } else {
    tag.move(TagState::waiting);
  }
}

// What was held back and may go now. A draining queue leaves it to the next server.
void Queue::send_due() {
  while (!draining_) {
    Tag* const tag = admission_.take_due(now_ns_);
    if (tag == nullptr) return;
    serve_request(*tag);
  }
}

void Queue::serve_request(Tag& tag) {
  tag.move(TagState::serving);
  tag.begun_ns = now_ns_;
  set_serving_count(serving_count_ + 1);
  const int64_t brought = payload_.bring(tag.request);
  if (brought == 0) send_to_target(tag);
  if (brought < 0) finish(tag, brought);
}

void Queue::send_to_target(Tag& tag) {
  const int64_t result = spec_.target->ops->queue_io(*spec_.target, target_queue_, tag.request);
  if (result != answer_later) finish(tag, result);
}

void Queue::answer(uint16_t tag, int64_t result) {
  finish(tags_[tag], result);
}

void Queue::abandon(uint16_t tag) {
  tags_[tag].move(TagState::held);
  set_serving_count(serving_count_ - 1);
}

void Queue::finish(Tag& tag, int64_t result) {
  // The driver learns of the end from the tags that it holds, and only after half a minute when it holds
  // none.
  if (unanswered_ && commands_.armed_count() != 0) return abandon(tag.request.tag);
  set_serving_count(serving_count_ - 1);
  result = payload_.hand_over(tag.request, result);
  count(tag, result);
  if (!commands_.commit(tag, static_cast<int32_t>(result))) broken_ = true;
}

void Queue::count(const Tag& tag, int64_t result) {
  const Request& request = tag.request;
  if (result >= 0) {
    counters_.count(request);
    time(tag);
    return;
  }
  // "Not supported" is how the block layer learns to do without an operation; nothing went wrong.
  if (result == -EOPNOTSUPP) return;
  counters_.count_error();
  events_.on_io_error({.error = static_cast<int>(-result),
                       .operation = request.operation,
                       .offset_bytes = request.offset_bytes,
                       .length_bytes = request.length_bytes});
}

void Queue::time(const Tag& tag) {
  const uint8_t operation = tag.request.operation;
  if (tag.begun_ns != now_ns_) {
    counters_.latency_of(operation).add(now_ns_ - tag.begun_ns);
    return;
  }
  at_once_[std::min<size_t>(operation, at_once_.size() - 1)]++;
  at_once_count_++;
}

// A clock for each request would cost some of them more than a hundredth of their time, so those that were
// answered one after the other share the time of the pass evenly.
void Queue::time_at_once() {
  if (at_once_count_ == 0) return;
  const uint64_t each_ns = (monotonic_ns() - now_ns_) / at_once_count_;
  for (uint8_t operation = 0; operation < at_once_.size(); operation++) {
    if (at_once_[operation] != 0) counters_.latency_of(operation).add(each_ns, at_once_[operation]);
  }
  at_once_ = {};
  at_once_count_ = 0;
}

void Queue::set_serving_count(uint32_t count) {
  serving_count_ = count;
  counters_.in_flight.store(count, std::memory_order_relaxed);
}

}  // namespace ublk
