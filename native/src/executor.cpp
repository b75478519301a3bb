#include "executor.hpp"

#include <algorithm>
#include <chrono>
#include <tuple>
#include <utility>
#include <vector>

#include "io_flusher.hpp"

namespace ublk {

namespace {

constexpr std::chrono::milliseconds idle_time(500);

}  // namespace

int Executor::start() {
  const std::lock_guard lock(mutex_);
  return add_worker();
}

void Executor::enqueue(Lane lane, Job job, size_t workers_limit) {
  const std::lock_guard lock(mutex_);
  bury_ended();
  // A job without a lane gets one of its own, under an address that nobody else has meanwhile.
  const auto own = std::make_shared<Job>(std::move(job));
  const Lane key = lane == no_lane ? own.get() : lane;
  LaneState& state = lanes_[key];
  state.jobs.push_back([own](Control& control) { (*own)(control); });
  if (!state.running && state.jobs.size() == 1) ready_.push_back(key);
  const bool crowded = ready_.size() > idle_count_ && workers_.size() < workers_limit;
  if (crowded && !workers_.empty()) std::ignore = add_worker();
  wake_.notify_one();
}

// Called with the mutex held.
int Executor::add_worker() {
  const bool stays = workers_.empty();
  auto worker = std::make_unique<Worker>();
  Worker* const self = worker.get();
  const int started = self->thread.start("ublk-control", [this, self, stays] { run(*self, stays); });
  if (started < 0) return started;
  // It has no job yet, and may take the next one.
  idle_count_++;
  workers_.push_back(std::move(worker));
  return 0;
}

void Executor::run(Worker& worker, bool stays) {
  // Memory reclaim on this thread must not wait for a device that only another job can bring back to life.
  // Without the right to say so it works as well as it can.
  std::ignore = become_io_flusher();
  std::unique_lock lock(mutex_);
  while (wait_for_job(lock, worker, stays)) run_next(lock, worker);
  worker.owes_answers = worker.control.owes_answers();
  if (!worker.owes_answers) worker.control.close();
  worker.ended = true;
  wake_.notify_all();
}

// False: this thread is not needed any more. One that waits for the kernel to answer a command stays.
bool Executor::wait_for_job(std::unique_lock<std::mutex>& lock, Worker& worker, bool stays) {
  const auto awake = [this] { return stopping_ || !ready_.empty(); };
  if (stays) {
    wake_.wait(lock, awake);
  } else {
    while (!wake_.wait_for(lock, idle_time, awake) && worker.control.owes_answers()) continue;
  }
  idle_count_--;
  return !ready_.empty();
}

void Executor::run_next(std::unique_lock<std::mutex>& lock, Worker& worker) {
  const Lane lane = ready_.front();
  ready_.pop_front();
  LaneState& state = lanes_[lane];
  Job job = std::move(state.jobs.front());
  state.jobs.pop_front();
  state.running = true;
  lock.unlock();
  job(worker.control);
  job = nullptr;
  lock.lock();
  idle_count_++;
  state.running = false;
  if (state.jobs.empty()) {
    lanes_.erase(lane);
  } else {
    ready_.push_back(lane);
    wake_.notify_one();
  }
}

// Called with the mutex held, which an ended thread does not need any more.
void Executor::bury_ended() {
  std::erase_if(workers_, [](const std::unique_ptr<Worker>& worker) { return worker->ended; });
}

void Executor::stop() {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  wake_.notify_all();
  while (!workers_.empty()) {
    wake_.wait(lock, [this] { return workers_.front()->ended; });
    std::unique_ptr<Worker> worker = std::move(workers_.front());
    workers_.pop_front();
    if (worker->owes_answers) {
      leave_behind(std::move(worker));
    } else {
      worker->thread.join();
    }
  }
}

// A thread's exit waits for its commands in the kernel, which may be for ever. Whoever waits for the thread
// would, too.
void Executor::leave_behind(std::unique_ptr<Worker> worker) {
  static std::mutex mutex;
  static auto& left = *new std::vector<std::unique_ptr<Worker>>;
  worker->thread.detach();
  const std::lock_guard lock(mutex);
  left.push_back(std::move(worker));
}

}  // namespace ublk
