#pragma once

#include <pthread.h>
#include <signal.h>

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
