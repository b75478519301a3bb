#include "binding_copies.hpp"

#include <string>
#include <utility>

#include "binding_reply.hpp"
#include "clock.hpp"
#include "copy_start.hpp"

namespace ublk {

namespace {

SharedCopy to_copy(const Napi::Value& handle) {
  return *handle.As<Napi::External<SharedCopy>>().Data();
}

Napi::Value copy_to_value(Napi::Env env, const SharedCopy& copy) {
  return Napi::External<SharedCopy>::New(env, new SharedCopy(copy),
                                         [](Napi::Env, SharedCopy* held) { delete held; });
}

CopySpec to_copy_spec(const Napi::Object& spec) {
  return {.source_path = spec.Get("sourcePath").As<Napi::String>(),
          .target_path = spec.Get("targetPath").As<Napi::String>(),
          .progress_path = spec.Get("progressPath").As<Napi::String>(),
          .size_bytes = to_uint64(spec.Get("sizeBytes")),
          .direct = spec.Get("direct").As<Napi::Boolean>(),
          .boot_id = spec.Get("bootId").As<Napi::String>()};
}

const char* name_of(CopyState state) {
  switch (state) {
    case CopyState::starting:
      return "starting";
    case CopyState::copying:
      return "copying";
    case CopyState::done:
      return "done";
    case CopyState::failed:
      return "failed";
  }
  return "failed";
}

Napi::Value create_copy(const Napi::CallbackInfo& info) {
  auto copy = std::make_shared<ImageCopy>(to_copy_spec(info[0].As<Napi::Object>()));
  return on_lane(info.Env(), Executor::no_lane, [copy](const Call& call) {
    const char* step = "";
    const int created = copy->create(step);
    if (created == 0) call.environment.copies.add(copy);
    call.reply.settle(Status::of(created, "CREATE_COPY"),
                      [copy](Napi::Env env) { return copy_to_value(env, copy); });
  });
}

Napi::Value resume_copy(const Napi::CallbackInfo& info) {
  auto copy = std::make_shared<ImageCopy>(to_copy_spec(info[0].As<Napi::Object>()));
  return on_lane(info.Env(), Executor::no_lane, [copy](const Call& call) {
    int resumed = copy->resume();
    if (resumed == 0) resumed = copy->run();
    if (resumed == 0) call.environment.copies.add(copy);
    call.reply.settle(Status::of(resumed, "RESUME_COPY"),
                      [copy](Napi::Env env) { return copy_to_value(env, copy); });
  });
}

std::vector<CopyOfDevice> to_copies_of_devices(const Napi::Array& pairs) {
  std::vector<CopyOfDevice> copies;
  for (uint32_t i = 0; i < pairs.Length(); i++) {
    const Napi::Object pair = pairs.Get(i).As<Napi::Object>();
    CopyOfDevice& added = copies.emplace_back(CopyOfDevice{.copy = to_copy(pair.Get("copy")), .device = {}});
    if (!pair.Get("device").IsExternal()) continue;
    const Handle served = to_handle(pair.Get("device"));
    added.device = SharedDevice(served, served->device.get());
  }
  return copies;
}

// Not on a device's lane, like a freeze.
Napi::Value start_copies_together(const Napi::CallbackInfo& info) {
  const uint32_t deadline_ms = info[1].As<Napi::Number>();
  return on_lane(info.Env(), Executor::no_lane,
                 [copies = to_copies_of_devices(info[0].As<Napi::Array>()), deadline_ms](const Call& call) {
                   uint64_t frozen_ns = 0;
                   const Status status = start_copies(copies, deadline_ms, frozen_ns);
                   call.reply.settle(status, [frozen_ns](Napi::Env env) {
                     return Napi::Number::New(env, static_cast<double>(frozen_ns) / ns_per_ms);
                   });
                 });
}

Napi::Value pause_copy(const Napi::CallbackInfo& info) {
  return on_lane(info.Env(), Executor::no_lane, [copy = to_copy(info[0])](const Call& call) {
    copy->pause();
    call.environment.copies.remove(copy);
    call.reply.settle(Status::success(), undefined);
  });
}

Napi::Value cancel_copy(const Napi::CallbackInfo& info) {
  return on_lane(info.Env(), Executor::no_lane, [copy = to_copy(info[0])](const Call& call) {
    const int cancelled = copy->cancel();
    if (cancelled == 0) call.environment.copies.remove(copy);
    call.reply.settle(Status::of(cancelled, "CANCEL_COPY"), undefined);
  });
}

Napi::Value read_copy(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const CopyStatus status = to_copy(info[0])->status();
  const Napi::Object result = Napi::Object::New(env);
  result.Set("state", Napi::String::New(env, name_of(status.state)));
  result.Set("copiedBytes", from_uint64(env, status.copied_bytes));
  result.Set("reason", Napi::String::New(env, status.reason));
  return result;
}

}  // namespace

std::vector<SharedCopy> to_copies(const Napi::Array& handles) {
  std::vector<SharedCopy> copies;
  for (uint32_t i = 0; i < handles.Length(); i++) copies.push_back(to_copy(handles.Get(i)));
  return copies;
}

void export_copies(Napi::Env env, Napi::Object exports) {
  exports.Set("createCopy", Napi::Function::New(env, create_copy));
  exports.Set("resumeCopy", Napi::Function::New(env, resume_copy));
  exports.Set("startCopies", Napi::Function::New(env, start_copies_together));
  exports.Set("pauseCopy", Napi::Function::New(env, pause_copy));
  exports.Set("cancelCopy", Napi::Function::New(env, cancel_copy));
  exports.Set("readCopy", Napi::Function::New(env, read_copy));
}

}  // namespace ublk
