#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "control.hpp"
#include "thread.hpp"

namespace ublk {

// The control plane of this process: life-cycle work, never on a thread that serves I/O (START_DEV and
// STOP_DEV do I/O through the server). Jobs of one lane run one by one in their order; each lane goes on
// while others are stuck in the kernel. Lanes borrow threads, each with a control channel of its own; the
// first thread stays, the others end after an idle time.
class Executor {
 public:
  using Job = std::function<void(Control&)>;
  // One lane for each device; `no_lane`: the job waits for no other.
  using Lane = const void*;
  static constexpr Lane no_lane = nullptr;

  Executor() = default;
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;
  ~Executor() { stop(); }

  // Starts the first thread.
  int start();
  void post(Lane lane, Job job) { enqueue(lane, std::move(job), workers_max); }
  // For a job that another one waits for: it gets a thread though all of them wait like that.
  void post_awaited(Job job) { enqueue(no_lane, std::move(job), SIZE_MAX); }
  // Runs what is still posted, then ends the threads. One whose command is still in the kernel is left
  // behind: its end would have to wait for the kernel.
  void stop();

 private:
  static constexpr size_t workers_max = 32;
  struct Worker {
    Thread thread;
    Control control;
    bool ended = false;
    bool owes_answers = false;  // the kernel still has commands of its
  };
  struct LaneState {
    std::deque<Job> jobs;
    bool running = false;
  };

  void enqueue(Lane lane, Job job, size_t workers_limit);
  int add_worker();
  void run(Worker& worker, bool stays);
  bool wait_for_job(std::unique_lock<std::mutex>& lock, Worker& worker, bool stays);
  void run_next(std::unique_lock<std::mutex>& lock, Worker& worker);
  void bury_ended();
  void leave_behind(std::unique_ptr<Worker> worker);

  std::mutex mutex_;
  std::condition_variable wake_;
  std::map<Lane, LaneState> lanes_;
  std::deque<Lane> ready_;  // lanes with a job and without a thread
  std::list<std::unique_ptr<Worker>> workers_;
  size_t idle_count_ = 0;
  bool stopping_ = false;
};

}  // namespace ublk
