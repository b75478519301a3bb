#pragma once

#define NAPI_VERSION 8
#include <napi.h>

#include <memory>

#include "js_channel.hpp"

namespace ublk {

// The channel to a backend that lives in one JavaScript environment.
class NodeChannel : public JsChannel {
 public:
  // `target` is a NativeTarget of kind "js" (src/ublk/addon.ts).
  static std::shared_ptr<NodeChannel> open(Napi::Env env, const Napi::Object& target);

  explicit NodeChannel(JsAbilities abilities) : JsChannel(abilities) {}
  // The device is closed: JavaScript lets go of what it holds for it. Any thread.
  void close();

 protected:
  void call_backend() override;

 private:
  static void on_call(napi_env env, napi_value serve, void* context, void* data);
  static void on_environment_end(void* context);
  static void on_released(napi_env env, void* data, void* hint);
  void serve_lanes(Napi::Env env, const Napi::Function& serve);

  std::mutex function_mutex_;
  napi_threadsafe_function function_ = nullptr;      // null once it is released, or its environment ends
  std::vector<Napi::ObjectReference> lane_objects_;  // the JavaScript thread's
};

}  // namespace ublk
