#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <utility>

#include "binding_js.hpp"
#include "device.hpp"
#include "executor.hpp"
#include "fault_plan.hpp"
#include "image_copy.hpp"

namespace ublk {

// A flood of failing requests must not grow the queue to JavaScript without bound; what does not fit is
// dropped.
inline constexpr size_t queued_errors_max = 256;

// One served device as JavaScript holds it.
struct Served {
  std::unique_ptr<Device> device;
  // Apart, so that errors crowd out none of the events that say what became of the device.
  Napi::ThreadSafeFunction io_events;
  Napi::ThreadSafeFunction state_events;
  std::shared_ptr<NodeChannel> backend;  // of a js target
  std::shared_ptr<FaultPlan> faults;     // of a fault target

  // The listener hears of events, and does not keep the process alive.
  void open_events(Napi::Env env, const Napi::Function& listener) {
    io_events = Napi::ThreadSafeFunction::New(env, listener, "ublk errors", queued_errors_max, 1);
    state_events = Napi::ThreadSafeFunction::New(env, listener, "ublk events", 0, 1);
    io_events.Unref(env);
    state_events.Unref(env);
  }
  // Nothing of it is left in this process, but for JavaScript's own references.
  void close() {
    if (backend != nullptr) backend->close();
    io_events.Release();
    state_events.Release();
  }
};

using Handle = std::shared_ptr<Served>;

// A set of devices for the threads of the executor and JavaScript's.
class DeviceSet {
 public:
  void add(const Handle& served) {
    const std::lock_guard lock(mutex_);
    all_.insert(served);
  }
  bool has(const Handle& served) {
    const std::lock_guard lock(mutex_);
    return all_.contains(served);
  }
  void remove(const Handle& served) {
    const std::lock_guard lock(mutex_);
    all_.erase(served);
  }
  std::set<Handle> all() {
    const std::lock_guard lock(mutex_);
    return all_;
  }

 private:
  std::mutex mutex_;
  std::set<Handle> all_;
};

// Copies that may have a thread, until they are paused or cancelled.
class CopySet {
 public:
  void add(const SharedCopy& copy) {
    const std::lock_guard lock(mutex_);
    all_.insert(copy);
  }
  void remove(const SharedCopy& copy) {
    const std::lock_guard lock(mutex_);
    all_.erase(copy);
  }
  std::set<SharedCopy> take_all() {
    const std::lock_guard lock(mutex_);
    return std::exchange(all_, {});
  }

 private:
  std::mutex mutex_;
  std::set<SharedCopy> all_;
};

// The state of one JavaScript environment.
struct Environment {
  Executor executor;
  DeviceSet known;   // from the wish to serve them to their end
  DeviceSet served;  // after their bring-up
  CopySet copies;
};

// Has the devices of the environment ended before it goes, however it goes.
void end_in_time(Napi::Env env, Environment* environment);

}  // namespace ublk
