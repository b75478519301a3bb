#pragma once

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include <functional>
#include <string>
#include <utility>

namespace ublk {

// One named thread with all signals blocked (they belong to the host program), joined by its owner.
// std::thread would report failure by an exception, which the engine does not have.
class Thread {
 public:
  Thread() = default;
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;
  ~Thread() { join(); }

  // 0 or a negative errno. The name is cut to the kernel's 15 characters.
  int start(const std::string& name, std::function<void()> body) {
    body_ = std::move(body);
    sigset_t all;
    sigset_t previous;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &previous);
    const int result = pthread_create(&thread_, nullptr, &Thread::run, this);
    pthread_sigmask(SIG_SETMASK, &previous, nullptr);
    if (result != 0) return -result;
    running_ = true;
    pthread_setname_np(thread_, name.substr(0, 15).c_str());
    return 0;
  }
  // False when the thread still runs after that time.
  bool join_for(uint32_t timeout_ms) {
    if (!running_) return true;
    timespec end = {};
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += timeout_ms / 1000;
    end.tv_nsec += (timeout_ms % 1000) * 1'000'000L;
    if (end.tv_nsec >= 1'000'000'000L) {
      end.tv_sec++;
      end.tv_nsec -= 1'000'000'000L;
    }
    if (pthread_timedjoin_np(thread_, nullptr, &end) != 0) return false;
    running_ = false;
    return true;
  }
  // Nobody will wait for it; this object and what the body uses must outlive it all the same.
  void detach() {
    if (running_) pthread_detach(thread_);
    running_ = false;
  }
  void join() {
    if (running_) pthread_join(thread_, nullptr);
    running_ = false;
  }
  bool running() const { return running_; }

 private:
  static void* run(void* self) {
    static_cast<Thread*>(self)->body_();
    return nullptr;
  }

  pthread_t thread_ = {};
  std::function<void()> body_;
  bool running_ = false;
};

}  // namespace ublk
