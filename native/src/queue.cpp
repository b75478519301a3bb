#include "queue.hpp"

#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <tuple>
#include <utility>

#include "io_flusher.hpp"

namespace ublk {

namespace {

constexpr int char_slot = 0;
constexpr int target_slot = 1;
constexpr uint64_t tag_mask = 0xffff;
constexpr uint64_t wake_mark = 1ULL << 33;

size_t round_to_page(size_t length_bytes) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return (length_bytes + page - 1) / page * page;
}

// One thread writes, so a plain add is enough; relaxed order, since each figure stands alone.
template <typename T>
void add(std::atomic<T>& counter, T amount) {
  counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
}

}  // namespace

uint64_t descriptor_offset_bytes(uint16_t queue_id) {
  return abi::cmd_buf_offset + queue_id * round_to_page(abi::max_queue_depth * sizeof(abi::IoDesc));
}

size_t descriptor_length_bytes(uint16_t depth) {
  return round_to_page(depth * sizeof(abi::IoDesc));
}

Queue::Queue(QueueSpec spec, QueueEvents events)
    : spec_(std::move(spec)),
      events_(std::move(events)),
      wake_(::eventfd(0, EFD_CLOEXEC)),
      target_queue_(ring_, target_slot),
      tags_(spec_.depth) {}

Queue::~Queue() {
  drain();
  join();
}

Status Queue::start() {
  if (!wake_.valid()) return {-EMFILE, "START_QUEUE"};
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
    descriptors_.reset();
    buffers_.reset();
  });
  if (started < 0) return {started, "START_QUEUE"};
  return outcome.get();
}

void Queue::drain() {
  const uint64_t one = 1;
  // An eventfd write of one fails only when the counter is full, and then the thread is awake anyway.
  if (wake_.valid()) std::ignore = ::write(wake_.get(), &one, sizeof(one));
}

// Affinity comes before the first touch of memory, which places it on this thread's NUMA node.
Status Queue::prepare() {
  int result = pin_to_cpus();
  if (result == 0) result = become_io_flusher();
  if (result < 0) return {result, "START_QUEUE"};
  result = create_ring();
  if (result < 0) return {result, "CREATE_RING"};
  result = descriptors_.map(descriptor_length_bytes(spec_.depth), PROT_READ, MAP_SHARED | MAP_POPULATE,
                            spec_.char_fd, static_cast<off_t>(descriptor_offset_bytes(spec_.queue_id)));
  if (result < 0) return {result, "START_QUEUE"};
  Status status = allocate_buffers();
  if (!status.ok()) return status;
  watch_wake_up();
  fetch_all_tags();
  result = ring_.submit_and_wait(0);
  return Status::of(broken_ ? -EIO : result, "START_QUEUE");
}

int Queue::pin_to_cpus() const {
  if (spec_.cpu_mask.empty()) return 0;
  const auto* mask = reinterpret_cast<const cpu_set_t*>(spec_.cpu_mask.data());
  // A container may not be allowed on the CPUs of this hardware queue; serving from elsewhere is slower, not
  // wrong.
  if (::sched_setaffinity(0, spec_.cpu_mask.size(), mask) < 0 && errno != EINVAL && errno != EPERM)
    return -errno;
  return 0;
}

Status Queue::allocate_buffers() {
  const size_t length_bytes = size_t{spec_.depth} * spec_.max_io_bytes;
  int result = buffers_.map(length_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (result < 0) return {result, "START_QUEUE"};
  // Locked, because paging one of these in could need the very device it serves. A user without CAP_IPC_LOCK
  // is bound by RLIMIT_MEMLOCK and serves unlocked.
  if (::mlock(buffers_.data(), length_bytes) < 0 && errno != EPERM && (errno != ENOMEM || ::geteuid() == 0)) {
    return {-errno, "START_QUEUE"};
  }
  // Saves pinning pages for each direct request. Refused above 1 GiB or the user's memory limit, where plain
  // reads and writes do the same.
  if (spec_.target->direct && ring_.register_buffer({buffers_.data(), length_bytes}) == 0) {
    target_queue_.use_fixed_buffers();
  }
  for (uint16_t i = 0; i < spec_.depth; i++) {
    tags_[i].request.tag = i;
    tags_[i].request.buffer = buffers_.data() + size_t{i} * spec_.max_io_bytes;
  }
  return Status::success();
}

int Queue::create_ring() {
  // Each tag has at most one command or one target I/O in the ring, and the wake-up has its own entry.
  const uint32_t entries = spec_.depth + 1U;
  const int created =
      ring_.create({.entries = entries, .completion_entries = 2 * entries, .single_issuer = true});
  if (created < 0) return created;
  const int target_fd = spec_.target->file.valid() ? spec_.target->file.get() : spec_.char_fd;
  const std::array<int, 2> files = {spec_.char_fd, target_fd};
  return ring_.register_files(files);
}

void Queue::watch_wake_up() {
  io_uring_sqe* sqe = ring_.next_sqe();
  if (sqe == nullptr) {
    broken_ = true;
    return;
  }
  io_uring_prep_read(sqe, wake_.get(), &wake_value_, sizeof(wake_value_), 0);
  sqe->user_data = wake_mark;
}

void Queue::fetch_all_tags() {
  for (Tag& tag : tags_) queue_command(tag, abi::io_fetch_req, 0);
}

void Queue::serve() {
  while (!done()) {
    const int waited = ring_.submit_and_wait(1);
    if (waited < 0 && waited != -EINTR && waited != -EAGAIN && waited != -EBUSY) broken_ = true;
    for (const Completion& completion : ring_.take_completions()) handle(completion);
  }
  // The commits of a drained queue's last requests are still only queued; unsent, the next server would do
  // those requests again.
  if (!broken_) ring_.submit_and_wait(0);
  if (!draining_) events_.on_ended();
}

bool Queue::done() const {
  if (broken_) return true;
  if (draining_) return serving_count_ == 0;
  return armed_count_ == 0 && serving_count_ == 0;
}

void Queue::handle(const Completion& completion) {
  if (completion.user_data == wake_mark) {
    draining_ = true;
    return;
  }
  Tag& tag = tags_[completion.user_data & tag_mask];
  if ((completion.user_data & TargetQueue::target_io_mark) == 0) {
    handle_command(tag, completion.result);
    return;
  }
  const int64_t result =
      spec_.target->ops->complete_io(*spec_.target, target_queue_, tag.request, completion.result);
  if (result != answer_later) finish(tag, result);
}

void Queue::handle_command(Tag& tag, int32_t result) {
  armed_count_--;
  if (result != abi::io_res_ok) {
    tag.move(TagState::retired);
  } else if (draining_) {
    tag.move(TagState::held);
  } else {
    begin(tag);
  }
}

void Queue::begin(Tag& tag) {
  tag.move(TagState::serving);
  serving_count_++;
  counters_.in_flight.store(serving_count_, std::memory_order_relaxed);
  read_descriptor(tag.request);
  const int64_t result = spec_.target->ops->queue_io(*spec_.target, target_queue_, tag.request);
  if (result != answer_later) finish(tag, result);
}

void Queue::read_descriptor(Request& request) const {
  const auto& descriptor = reinterpret_cast<const abi::IoDesc*>(descriptors_.data())[request.tag];
  request.operation = abi::op(descriptor);
  request.flags = abi::flags(descriptor);
  request.offset_bytes = descriptor.start_sector << 9;
  request.length_bytes = uint64_t{descriptor.nr_sectors} << 9;
  request.done_bytes = 0;
}

void Queue::finish(Tag& tag, int64_t result) {
  serving_count_--;
  count(tag.request, result);
  queue_command(tag, abi::io_commit_and_fetch_req, static_cast<int32_t>(result));
}

// The only place where a tag goes back to the kernel.
void Queue::queue_command(Tag& tag, uint32_t operation, int32_t result) {
  io_uring_sqe* sqe = ring_.next_sqe();
  if (sqe == nullptr) {
    // The request stays uncommitted: the ring ends here and a recoverable device issues it again.
    broken_ = true;
    return;
  }
  tag.move(TagState::armed);
  armed_count_++;
  sqe->opcode = IORING_OP_URING_CMD;
  sqe->fd = char_slot;
  sqe->flags = IOSQE_FIXED_FILE;
  sqe->cmd_op = operation;
  sqe->user_data = tag.request.tag;
  abi::IoCmd command = {};
  command.q_id = spec_.queue_id;
  command.tag = tag.request.tag;
  command.result = result;
  command.addr = reinterpret_cast<uint64_t>(tag.request.buffer);
  std::memcpy(reinterpret_cast<std::byte*>(sqe) + offsetof(io_uring_sqe, addr3), &command, sizeof(command));
}

void Queue::count(const Request& request, int64_t result) {
  counters_.in_flight.store(serving_count_, std::memory_order_relaxed);
  if (result < 0) {
    // "Not supported" is how the block layer learns to do without an operation; nothing went wrong.
    if (result == -EOPNOTSUPP) return;
    add(counters_.errors, uint64_t{1});
    events_.on_io_error({.error = static_cast<int>(-result),
                         .operation = request.operation,
                         .offset_bytes = request.offset_bytes,
                         .length_bytes = request.length_bytes});
    return;
  }
  switch (request.operation) {
    case abi::op_read:
      add(counters_.reads, uint64_t{1});
      add(counters_.read_bytes, request.length_bytes);
      break;
    case abi::op_write:
      add(counters_.writes, uint64_t{1});
      add(counters_.write_bytes, request.length_bytes);
      break;
    case abi::op_flush:
      add(counters_.flushes, uint64_t{1});
      break;
    case abi::op_discard:
      add(counters_.discards, uint64_t{1});
      break;
    default:
      add(counters_.write_zeroes, uint64_t{1});
      break;
  }
}

}  // namespace ublk
