#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "binding_environment.hpp"
#include "convert.hpp"

namespace ublk {

using ToValue = std::function<Napi::Value(Napi::Env)>;

// The answer of one verb, carried from the executor to its promise.
class Reply {
 public:
  explicit Reply(Napi::Env env)
      : deferred_(Napi::Promise::Deferred::New(env)),
        channel_(Napi::ThreadSafeFunction::New(
            env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}), "ublk verb", 0, 1)) {}
  Napi::Promise promise() const { return deferred_.Promise(); }

  void settle(Status status, ToValue to_value) {
    const Napi::Promise::Deferred deferred = deferred_;
    channel_.BlockingCall([deferred, status = std::move(status), to_value = std::move(to_value)](
                              Napi::Env env, const Napi::Function&) {
      if (status.ok()) {
        deferred.Resolve(to_value(env));
      } else {
        deferred.Reject(from_status(env, status));
      }
    });
    channel_.Release();
  }

 private:
  Napi::Promise::Deferred deferred_;
  Napi::ThreadSafeFunction channel_;
};

inline Napi::Value undefined(Napi::Env env) {
  return env.Undefined();
}

// What a verb works with.
struct Call {
  Environment& environment;
  Control& control;
  Reply& reply;
};

// Runs `verb` on the lane of a device, or on one of its own; it settles the reply it is given.
template <typename Verb>
Napi::Value on_lane(Napi::Env env, Executor::Lane lane, Verb verb) {
  auto* environment = env.GetInstanceData<Environment>();
  auto reply = std::make_shared<Reply>(env);
  const Napi::Value promise = reply->promise();
  environment->executor.post(lane, [environment, reply, verb = std::move(verb)](Control& control) {
    verb(Call{*environment, control, *reply});
  });
  return promise;
}

inline Handle to_handle(const Napi::Value& value) {
  return *value.As<Napi::External<Handle>>().Data();
}

}  // namespace ublk
