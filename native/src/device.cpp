#include "device.hpp"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>
#include <string>
#include <utility>

#include "image_lock.hpp"
#include "js_channel.hpp"

namespace ublk {

namespace {

// STOP_DEV writes every dirty page back through the target before it returns.
constexpr uint32_t stop_deadline_ms = 120'000;
constexpr uint32_t delete_deadline_ms = 30'000;
constexpr uint32_t open_deadline_ms = 5'000;
// The rings of a server that has ended hold its image until their last I/O has.
constexpr uint32_t image_lock_deadline_ms = 5'000;
// An old server that is still exiting holds the device; ublksrv gives it the same time.
constexpr uint32_t recovery_deadline_ms = 30'000;
constexpr uint32_t backend_deadline_ms = 30'000;
constexpr uint32_t poll_interval_ms = 10;
constexpr uint32_t brief_open_ms = 300;
// Enough for 8192 CPUs; the driver wants a multiple of 8 that covers all CPUs.
constexpr size_t cpu_mask_bytes = 1024;

// Tries until the attempt gives something else than `busy` or the deadline passes. The kernel offers nothing
// to wait on.
template <typename Attempt, typename Busy>
int retry_while(Busy busy, uint32_t deadline_ms, Attempt attempt) {
  int result = attempt();
  for (uint32_t waited_ms = 0; busy(result) && waited_ms < deadline_ms; waited_ms += poll_interval_ms) {
    const timespec pause = {.tv_sec = 0, .tv_nsec = poll_interval_ms * 1'000'000L};
    ::nanosleep(&pause, nullptr);
    result = attempt();
  }
  return result;
}

}  // namespace

Status Device::open(Control& control) {
  Status status = control.open();
  if (!status.ok()) return status;
  status = spec_.recover ? recover(control) : add(control);
  if (status.ok()) return status;
  const bool added = !spec_.recover && info_.dev_id != UINT32_MAX && info_.nr_hw_queues != 0;
  release();
  if (added) delete_device(control, name(), delete_deadline_ms);
  return status;
}

// The order of bring-up. Each step needs those before it:
//  1. the target, so that an image that is missing or served by another never makes a device
//  2. ADD_DEV; the driver settles flags, queue count and buffer size
//  3. /dev/ublkcN
//  4. SET_PARAMS and the proof that they were kept
//  5. queue threads, until every tag is fetched
//  6. START_DEV, which reads the disk through those threads before it returns
Status Device::add(Control& control) {
  info_ = {};
  info_.dev_id = static_cast<uint32_t>(spec_.device_id);
  Status status = open_target();
  if (status.ok()) status = claim_image(image_lock_deadline_ms);
  if (!status.ok()) return status;
  abi::DevInfo wanted = {};
  wanted.dev_id = static_cast<uint32_t>(spec_.device_id);
  wanted.nr_hw_queues = spec_.queue_count;
  wanted.queue_depth = spec_.queue_depth;
  wanted.max_io_buf_bytes = spec_.max_io_bytes;
  wanted.ublksrv_pid = ::getpid();
  wanted.flags = spec_.features;
  wanted.ublksrv_flags = spec_.owner_tag;
  status = explained(control, add_device(control, wanted), "ADD_DEV");
  if (!status.ok()) return status;
  info_ = wanted;
  status = open_char_device();
  if (status.ok()) status = negotiate_params(control);
  if (status.ok()) status = start_queues(control);
  if (status.ok()) status = explained(control, start_device(control, name(), ::getpid()), "START_DEV");
  return status;
}

// Recovery: as bring-up from step 3, without parameters, which the driver still has (kernel ublk
// documentation).
Status Device::recover(Control& control) {
  Status status =
      Status::of(get_device_info(control, static_cast<uint32_t>(spec_.device_id), info_), "GET_DEV_INFO");
  if (!status.ok()) return status;
  abi::Params params = {};
  status = Status::of(get_params(control, name(), params), "GET_PARAMS");
  if (!status.ok()) return status;
  geometry_ = from_params(params);
  spec_.target.size_bytes = geometry_.size_bytes;
  spec_.target.logical_block_bytes = geometry_.logical_block_bytes;
  spec_.target.read_only = geometry_.read_only;
  spec_.target.discard = geometry_.discard;
  status = open_target();
  if (status.ok()) status = claim_image(recovery_deadline_ms);
  if (status.ok()) status = begin_recovery(control);
  if (status.ok()) status = open_char_device();
  if (status.ok()) status = start_queues(control);
  if (status.ok())
    status = explained(control, end_user_recovery(control, name(), ::getpid()), "END_USER_RECOVERY");
  return status;
}

Status Device::begin_recovery(Control& control) {
  const int result = retry_while([](int error) { return error == -EBUSY; }, recovery_deadline_ms,
                                 [&] { return start_user_recovery(control, name()); });
  if (result == -EINVAL && recovery_has_begun(control)) return Status::success();
  return Status::of(result, "START_USER_RECOVERY");
}

// A server that dies between START_USER_RECOVERY and its first FETCH leaves a device that 6.12 does not begin
// to recover again: it has been made ready for a server (ublk_ctrl_start_recovery, nr_queues_ready). One that
// dies between its first and its last FETCH leaves what 6.12 cannot recover at all.
bool Device::recovery_has_begun(Control& control) const {
  abi::DevInfo now = {};
  return get_device_info(control, info_.dev_id, now) == 0 && now.state == abi::state_quiesced;
}

Status Device::open_target() {
  const char* step = "OPEN_TARGET";
  const TargetOps& ops = target_ops(spec_.target.kind);
  const int result = ops.open(spec_.target, target_, step);
  target_.ops = &ops;
  if (result < 0) return {result, "OPEN_TARGET"};
  // A device that was made in a zero-copy mode must not be recovered with a target that would leave in the
  // pages of a READ whatever the kernel last had there.
  const DataMode mode = to_data_mode(spec_.recover ? info_.flags : spec_.features);
  const bool served = (ops.transfers_in_ring && !target_.mapped_only) || !has_pages_in_ring(mode);
  return Status::of(served ? 0 : -EOPNOTSUPP, "OPEN_TARGET");
}

// Two servers that write to one image destroy it. In a hand-over and after a crash the claim of the old
// server ends with its last I/O: from then on the image is this one's.
Status Device::claim_image(uint32_t deadline_ms) {
  if (!target_.file.valid()) return Status::success();
  const int result = retry_while([](int error) { return error == -EAGAIN; }, deadline_ms,
                                 [this] { return lock_image(target_.file.get(), target_.read_only); });
  return Status::of(result, "LOCK_IMAGE");
}

// udev opens a new node for a moment to set its owner, and the driver allows one open only.
Status Device::open_char_device() {
  const std::string path = "/dev/ublkc" + std::to_string(info_.dev_id);
  const auto attempt = [&] {
    char_device_ = UniqueFd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    return char_device_.valid() ? 0 : -errno;
  };
  const auto busy = [](int error) { return error == -EBUSY || error == -ENOENT || error == -EACCES; };
  return Status::of(retry_while(busy, open_deadline_ms, attempt), "OPEN_CHAR");
}

Status Device::negotiate_params(Control& control) {
  geometry_ = {.size_bytes = spec_.target.size_bytes,
               .logical_block_bytes = spec_.target.logical_block_bytes,
               .max_io_bytes = info_.max_io_buf_bytes,
               .read_only = target_.read_only,
               .discard = target_.discard,
               .fua = target_.fua,
               .write_zeroes = target_.write_zeroes,
               .volatile_cache = target_.volatile_cache,
               .discard_granularity_bytes = target_.discard_granularity_bytes};
  if (has_pages_in_ring(data_mode())) {
    geometry_.memory_align_bytes = target_.limits.align_bytes;
    geometry_.max_segment_bytes = target_.limits.max_segment_bytes;
    geometry_.max_segments = target_.limits.max_segments;
  }
  const abi::Params wanted = to_params(geometry_);
  const int set = set_params(control, name(), wanted);
  if (set < 0) return {set, "SET_PARAMS"};
  abi::Params kept = {};
  const int got = get_params(control, name(), kept);
  if (got < 0) return {got, "GET_PARAMS"};
  return Status::of(params_kept(wanted, kept) ? 0 : -EPROTO, "GET_PARAMS");
}

Status Device::start_queues(Control& control) {
  gate_.set_queue_count(info_.nr_hw_queues);
  for (SharedCopy& copy : std::exchange(spec_.copies, {})) copies_.add(std::move(copy));
  for (uint16_t i = 0; i < info_.nr_hw_queues; i++) {
    QueueSpec spec;
    spec.device_id = info_.dev_id;
    spec.queue_id = i;
    spec.depth = info_.queue_depth;
    spec.max_io_bytes = info_.max_io_buf_bytes;
    spec.mode = data_mode();
    spec.batch = batch();
    spec.char_fd = char_device_.get();
    spec.target = &target_;
    spec.gate = &gate_;
    spec.limiter = &limiter_;
    spec.copies = &copies_;
    spec.stalls_load = loses_late_requests();
    const Status status = choose_cpus(control, spec);
    if (!status.ok()) return status;
    QueueEvents events = {.on_io_error = events_.on_io_error, .on_ended = [this] { on_queue_ended(); }};
    queues_.push_back(std::make_unique<Queue>(std::move(spec), std::move(events)));
    const Status started = queues_.back()->start();
    if (!started.ok()) return started;
  }
  copies_.connect([this] { wake_queues(); });
  return Status::success();
}

// Seen on 6.12: a request that comes between the last look of a released queue and the end of its ring is
// neither answered nor given to the next server; the device waits for it for ever, and so does whoever wants
// to recover or remove it. Not seen where there is QUIESCE (6.16). What is not answered must come again for
// this to be harmless.
bool Device::loses_late_requests() const {
  return (info_.flags & abi::f_quiesce) == 0 && (info_.flags & abi::f_user_recovery_reissue) != 0;
}

Status Device::choose_cpus(Control& control, QueueSpec& spec) const {
  spec.cpu_mask.resize(cpu_mask_bytes);
  spec.cpus_asked_for = !spec_.cpus.empty();
  for (const uint32_t cpu : spec_.cpus) spec.cpu_mask[cpu / 8] |= std::byte{1} << (cpu % 8);
  if (spec.cpus_asked_for) return Status::success();
  return Status::of(get_queue_affinity(control, name(), spec.queue_id, spec.cpu_mask), "GET_QUEUE_AFFINITY");
}

void Device::on_queue_ended() {
  const bool last = ++ended_queues_ == info_.nr_hw_queues;
  if (last && !closing_) events_.on_stopped();
}

// The order of teardown:
//  1. STOP_DEV while all queues serve: the kernel flushes dirty pages through us, then aborts every tag
//  2. join the queue threads, which ended with their last tag; each destroys its ring and mappings, since a
//  ring's file
//     table holds the char device open
//  3. close the char device; DEL_DEV waits for its last reference
//  4. DEL_DEV
//  5. the target's file
Status Device::remove(Control& control, bool only_if_unused) {
  begin_end();
  const char* step = "";
  const int stopped = stop(control, only_if_unused, step);
  if (stopped < 0 && stopped != -ENODEV) {
    take_back_end();
    return explained(control, stopped, step);
  }
  release();
  const int deleted = delete_device(control, name(), delete_deadline_ms);
  return deleted == -ENODEV ? Status::success() : explained(control, deleted, "DEL_DEV");
}

// STOP_DEV writes back through the queues, and QUIESCE_DEV waits for an idle tag of each: nothing may be held
// back.
void Device::begin_end() {
  closing_ = true;
  limiter_.suspend();
  gate_.seal();
  wake_queues();
}

void Device::take_back_end() {
  closing_ = false;
  gate_.unseal();
  limiter_.resume();
  wake_queues();
}

void Device::wake_queues() {
  for (const auto& queue : queues_) queue->wake();
}

int Device::stop(Control& control, bool only_if_unused, const char*& step) {
  step = only_if_unused ? "TRY_STOP_DEV" : "STOP_DEV";
  if (!only_if_unused) return stop_device(control, name(), stop_deadline_ms);
  if ((info_.flags & abi::f_safe_stop_dev) == 0) return -EOPNOTSUPP;
  // udev and blkid have a device open for a moment whenever its last writer closes it.
  return retry_while([](int error) { return error == -EBUSY; }, brief_open_ms,
                     [&] { return try_stop_device(control, name(), stop_deadline_ms); });
}

// What a backend works on must end before the device has its next server, or a late write could undo a newer
// one. But one that never answers shall not hold up other devices' control commands for good.
void Device::give_up_late_answers() {
  for (const auto& queue : queues_) {
    if (queue->join_for(backend_deadline_ms)) continue;
    target_.js->lose();
    return;
  }
}

void Device::release() {
  closing_ = true;
  for (const auto& queue : queues_) queue->drain();
  // After the drain: what is held back now is for the next server.
  gate_.seal();
  if (target_.js != nullptr) give_up_late_answers();
  for (const auto& queue : queues_) queue->join();
  copies_.disconnect();
  // The ended queues stay for their counters, which another thread may be reading.
  char_device_.reset();
  const std::lock_guard lock(target_mutex_);
  target_ = {};
}

DeviceCounters Device::counters() const {
  DeviceCounters sum;
  for (const auto& queue : queues_) sum.add(queue->counters());
  sum.frozen = gate_.closed();
  return sum;
}

Status remove_foreign_device(Control& control, uint32_t device_id, std::optional<uint64_t> owner_tag) {
  Status status = control.open();
  if (!status.ok()) return status;
  abi::DevInfo info = {};
  status = explained(control, get_device_info(control, device_id, info), "GET_DEV_INFO");
  if (!status.ok()) return status;
  if (owner_tag.value_or(info.ublksrv_flags) != info.ublksrv_flags) return {-ENODEV, "GET_DEV_INFO"};
  const DeviceName device(info);
  status = explained(control, stop_device(control, device, stop_deadline_ms), "STOP_DEV");
  if (!status.ok()) return status;
  return explained(control, delete_device(control, device, delete_deadline_ms), "DEL_DEV");
}

}  // namespace ublk
