// The addon: a handful of functions, described in src/ublk/addon.ts. Verbs that enter the kernel run on the
// executor's threads and answer through a promise; the JavaScript thread never waits for the kernel, except
// at the very end of the environment.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "binding_copies.hpp"
#include "binding_environment.hpp"
#include "binding_files.hpp"
#include "binding_reply.hpp"
#include "convert.hpp"
#include "fail_point.hpp"
#include "freeze.hpp"

namespace ublk {

namespace {

DeviceEvents to_device_events(const std::weak_ptr<Served>& served) {
  const auto emit = [served](Napi::ThreadSafeFunction Served::*queue,
                             std::function<Napi::Object(Napi::Env)> to_event) {
    const Handle alive = served.lock();
    if (alive == nullptr) return;
    ((*alive).*queue)
        .NonBlockingCall([to_event = std::move(to_event)](Napi::Env env, const Napi::Function& listener) {
          if (env != nullptr) listener.Call({to_event(env)});
        });
  };
  return {
      .on_io_error =
          [emit](const IoError& error) {
            emit(&Served::io_events, [error](Napi::Env env) { return from_io_error(env, error); });
          },
      .on_stopped =
          [emit] { emit(&Served::state_events, [](Napi::Env env) { return from_kind(env, "stopped"); }); },
      .on_thawed =
          [emit] { emit(&Served::state_events, [](Napi::Env env) { return from_kind(env, "thawed"); }); }};
}

Napi::Value handle_to_value(Napi::Env env, const Handle& served) {
  Napi::Object result = from_device(env, *served->device);
  result.Set("handle", Napi::External<Handle>::New(env, new Handle(served),
                                                   [](Napi::Env, Handle* handle) { delete handle; }));
  return result;
}

Napi::Value open_device(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto served = std::make_shared<Served>();
  served->open_events(env, info[1].As<Napi::Function>());
  DeviceSpec spec = to_device_spec(info[0].As<Napi::Object>());
  spec.copies = to_copies(info[0].As<Napi::Object>().Get("copies").As<Napi::Array>());
  if (spec.target.kind == TargetKind::js) {
    served->backend = NodeChannel::open(env, info[0].As<Napi::Object>().Get("target").As<Napi::Object>());
    spec.target.js = served->backend;
  }
  served->faults = spec.target.fault;
  served->device = std::make_unique<Device>(std::move(spec), to_device_events(served));
  env.GetInstanceData<Environment>()->known.add(served);
  return on_lane(env, served.get(), [served](const Call& call) {
    const Status status = served->device->open(call.control);
    if (status.ok()) {
      call.environment.served.add(served);
    } else {
      call.environment.known.remove(served);
      served->close();
    }
    call.reply.settle(status, [served](Napi::Env env) { return handle_to_value(env, served); });
  });
}

// Runs `end` on the device's lane and lets the device go when it succeeds. A handle that is gone already is
// no error.
template <typename End>
Napi::Value end_serving(Napi::Env env, const Handle& served, End end) {
  // Whoever waits for a frozen device waits no longer; the lane may be busy.
  served->device->thaw();
  return on_lane(env, served.get(), [served, end = std::move(end)](const Call& call) {
    Status status;
    if (call.environment.served.has(served)) {
      status = end(*served->device, call.control);
      if (status.ok()) {
        call.environment.served.remove(served);
        call.environment.known.remove(served);
        served->close();
      }
    }
    call.reply.settle(status, undefined);
  });
}

Napi::Value close_device(const Napi::CallbackInfo& info) {
  const std::string how = info[1].As<Napi::String>();
  return end_serving(info.Env(), to_handle(info[0]), [how](Device& device, Control& control) {
    if (how != "release") return device.remove(control, how == "remove-unused");
    device.release();
    return Status::success();
  });
}

Napi::Value quiesce_device(const Napi::CallbackInfo& info) {
  const uint32_t timeout_ms = info[1].As<Napi::Number>();
  return end_serving(info.Env(), to_handle(info[0]), [timeout_ms](Device& device, Control& control) {
    return device.quiesce(control, timeout_ms);
  });
}

// Runs `verb` of a device that is served; one that is not any more gives -ENODEV.
template <typename Verb>
Napi::Value on_device(const Napi::CallbackInfo& info, const char* step, Verb verb) {
  const Handle served = to_handle(info[0]);
  return on_lane(info.Env(), served.get(), [served, step, verb](const Call& call) {
    const bool known = call.environment.served.has(served);
    call.reply.settle(known ? verb(*served->device, call.control) : Status::of(-ENODEV, step), undefined);
  });
}

Napi::Value resize_device(const Napi::CallbackInfo& info) {
  const uint64_t size_bytes = to_uint64(info[1]);
  return on_device(info, "UPDATE_SIZE", [size_bytes](Device& device, Control& control) {
    return device.resize(control, size_bytes);
  });
}

Napi::Value set_limits(const Napi::CallbackInfo& info) {
  const Limits limits = to_limits(info[1].As<Napi::Object>());
  return on_device(info, "SET_LIMITS", [limits](Device& device, Control&) {
    device.set_limits(limits);
    return Status::success();
  });
}

// Not on a device's lane, so that a freeze waits for no other verb of it; and ending a device thaws it.
Napi::Value freeze_devices(const Napi::CallbackInfo& info) {
  std::vector<SharedDevice> devices;
  const Napi::Array handles = info[0].As<Napi::Array>();
  for (uint32_t i = 0; i < handles.Length(); i++) {
    const Handle served = to_handle(handles.Get(i));
    devices.emplace_back(served, served->device.get());
  }
  const uint32_t deadline_ms = info[1].As<Napi::Number>();
  return on_lane(info.Env(), Executor::no_lane, [devices, deadline_ms](const Call& call) {
    const RunApart apart = [&call](const std::function<void()>& job) {
      call.environment.executor.post_awaited([job](Control&) { job(); });
    };
    uint64_t until_ns = 0;
    const Status status = freeze_together(devices, deadline_ms, apart, until_ns);
    call.reply.settle(status, [until_ns](Napi::Env env) { return from_uint64(env, until_ns); });
  });
}

// At once, and on this very thread: it must not wait for a thread.
Napi::Value thaw_devices(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Array handles = info[0].As<Napi::Array>();
  const uint64_t until_ns = info[1].IsUndefined() ? 0 : to_uint64(info[1]);
  const Napi::Array results = Napi::Array::New(env, handles.Length());
  for (uint32_t i = 0; i < handles.Length(); i++) {
    results.Set(i, Napi::Boolean::New(env, to_handle(handles.Get(i))->device->thaw(until_ns)));
  }
  const Napi::Promise::Deferred deferred = Napi::Promise::Deferred::New(env);
  deferred.Resolve(results);
  return deferred.Promise();
}

Napi::Value read_features(const Napi::CallbackInfo& info) {
  return on_lane(info.Env(), Executor::no_lane, [](const Call& call) {
    uint64_t features = 0;
    Status status = call.control.open();
    if (status.ok()) status = explained(call.control, get_features(call.control, features), "GET_FEATURES");
    call.reply.settle(status, [features](Napi::Env env) { return from_uint64(env, features); });
  });
}

Napi::Value read_device_info(const Napi::CallbackInfo& info) {
  const uint32_t device_id = info[0].As<Napi::Number>();
  return on_lane(info.Env(), Executor::no_lane, [device_id](const Call& call) {
    abi::DevInfo device = {};
    abi::Params params = {};
    Status status = call.control.open();
    if (status.ok())
      status = explained(call.control, get_device_info(call.control, device_id, device), "GET_DEV_INFO");
    // A device that was added and never set up has no parameters yet; its size reads as zero.
    if (status.ok() && get_params(call.control, DeviceName(device), params) < 0) params = {};
    call.reply.settle(status, [device, geometry = from_params(params)](Napi::Env env) {
      return from_device_info(env, device, geometry);
    });
  });
}

Napi::Value remove_device(const Napi::CallbackInfo& info) {
  const uint32_t device_id = info[0].As<Napi::Number>();
  std::optional<uint64_t> owner_tag;
  if (info[1].IsBigInt()) owner_tag = to_uint64(info[1]);
  return on_lane(info.Env(), Executor::no_lane, [device_id, owner_tag](const Call& call) {
    call.reply.settle(remove_foreign_device(call.control, device_id, owner_tag), undefined);
  });
}

// At once and not on the device's lane, which may be waiting for the very request that hangs.
Napi::Value set_fault_rules(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Handle served = to_handle(info[0]);
  const Napi::Promise::Deferred deferred = Napi::Promise::Deferred::New(env);
  if (served->faults == nullptr) {
    deferred.Reject(from_status(env, {-EINVAL, "SET_FAULT_RULES"}));
    return deferred.Promise();
  }
  served->faults->replace(to_fault_rules(info[1].As<Napi::Array>()));
  served->device->wake_queues();
  deferred.Resolve(env.Undefined());
  return deferred.Promise();
}

Napi::Value read_stats(const Napi::CallbackInfo& info) {
  return from_counters(info.Env(), to_handle(info[0])->device->counters());
}

Napi::Value set_fail_point(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), die_at(info[0].As<Napi::String>().Utf8Value()) == 0);
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  auto* environment = new Environment;
  env.SetInstanceData<Environment>(environment);
  environment->executor.start();
  end_in_time(env, environment);
  exports.Set("readFeatures", Napi::Function::New(env, read_features));
  exports.Set("openDevice", Napi::Function::New(env, open_device));
  exports.Set("closeDevice", Napi::Function::New(env, close_device));
  exports.Set("quiesceDevice", Napi::Function::New(env, quiesce_device));
  exports.Set("resizeDevice", Napi::Function::New(env, resize_device));
  exports.Set("setLimits", Napi::Function::New(env, set_limits));
  exports.Set("freezeDevices", Napi::Function::New(env, freeze_devices));
  exports.Set("thawDevices", Napi::Function::New(env, thaw_devices));
  exports.Set("readDeviceInfo", Napi::Function::New(env, read_device_info));
  exports.Set("removeDevice", Napi::Function::New(env, remove_device));
  exports.Set("dieAt", Napi::Function::New(env, set_fail_point));
  exports.Set("setFaultRules", Napi::Function::New(env, set_fault_rules));
  export_copies(env, exports);
  exports.Set("readStats", Napi::Function::New(env, read_stats));
  export_files(env, exports);
  return exports;
}

}  // namespace

}  // namespace ublk

static Napi::Object InitAll(Napi::Env env, Napi::Object exports) {
  return ublk::initialise(env, exports);
}

NODE_API_MODULE(ublk, InitAll)
