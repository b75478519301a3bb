#include "binding_environment.hpp"

#include <cstdlib>

namespace ublk {

namespace {

// The environments that still may have devices. Never destroyed, for it is used while other statics are.
struct LiveEnvironments {
  std::mutex mutex;
  std::set<Environment*> members;
};

LiveEnvironments& live_environments() {
  static auto* const live = new LiveEnvironments;
  return *live;
}

// The end of the environment: devices nobody can recover are removed in order, the others wait for their next
// server.
void close_all(Environment* environment) {
  for (const Handle& served : environment->known.all()) {
    // JavaScript runs no more: what its backend has not answered goes to the next server, or nowhere.
    if (served->backend != nullptr) served->backend->lose();
    // Behind what its lane still has to do: a device that is coming up is ended as well.
    environment->executor.post(served.get(), [environment, served](Control& control) {
      if (!environment->served.has(served)) return;
      // Writing dirty pages back would need the backend.
      if (served->backend != nullptr) served->device->release();
      if (!served->device->recoverable()) served->device->remove(control);
      served->device->release();
      environment->served.remove(served);
    });
  }
  environment->executor.stop();
  // After the devices: what they still had to write may have waited for a copy.
  for (const SharedCopy& copy : environment->copies.take_all()) copy->pause();
}

void end_environment(Environment* environment) {
  LiveEnvironments& live = live_environments();
  const std::lock_guard lock(live.mutex);
  if (live.members.erase(environment) > 0) close_all(environment);
}

// process.exit() and an uncaught exception skip the clean-up hooks of the main environment, but not exit(3).
void end_all_environments() {
  while (!live_environments().members.empty()) end_environment(*live_environments().members.begin());
}

}  // namespace

void end_in_time(Napi::Env env, Environment* environment) {
  static const int registered = std::atexit(end_all_environments);
  (void)registered;
  {
    LiveEnvironments& live = live_environments();
    const std::lock_guard lock(live.mutex);
    live.members.insert(environment);
  }
  env.AddCleanupHook(end_environment, environment);
}

}  // namespace ublk
