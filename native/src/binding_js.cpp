// A backend in JavaScript, as the engine's channel sees it. Together with binding.cpp and convert.hpp the
// only place that knows N-API.
#include "binding_js.hpp"

#include <cstdint>

namespace ublk {

namespace {

// Memory that JavaScript sees stays until the garbage collector has found that nobody looks at it any more,
// which may be long after the device is gone.
template <typename Owner>
Napi::ArrayBuffer share(Napi::Env env, void* data, size_t length_bytes, const std::shared_ptr<Owner>& owner) {
  auto* kept = new std::shared_ptr<Owner>(owner);
  return Napi::ArrayBuffer::New(env, data, length_bytes, [kept](Napi::Env, void*) { delete kept; });
}

// A NativeLane of src/ublk/addon.ts.
Napi::Object to_lane_object(Napi::Env env, const std::shared_ptr<JsLane>& lane) {
  std::vector<double>& requests = lane->requests();
  std::vector<int32_t>& answers = lane->answers();
  const Napi::ArrayBuffer request_bytes = share(env, requests.data(), requests.size() * sizeof(double), lane);
  const Napi::ArrayBuffer answer_bytes = share(env, answers.data(), answers.size() * sizeof(int32_t), lane);
  Napi::Object object = Napi::Object::New(env);
  object.Set("memory", share(env, lane->memory()->data(), lane->memory()->size(), lane->memory()));
  object.Set("requests", Napi::Float64Array::New(env, requests.size(), request_bytes, 0));
  object.Set("answers", Napi::Int32Array::New(env, answers.size(), answer_bytes, 0));
  object.Set("answer", Napi::Function::New(
                           env,
                           [lane](const Napi::CallbackInfo& info) {
                             if (lane->give_answers(info[0].As<Napi::Number>().Uint32Value())) return;
                             Napi::Error::New(info.Env(), "an answer to a request that is not out")
                                 .ThrowAsJavaScriptException();
                           },
                           "answer"));
  return object;
}

}  // namespace

std::shared_ptr<NodeChannel> NodeChannel::open(Napi::Env env, const Napi::Object& target) {
  const JsAbilities abilities = {.flush = target.Get("flush").As<Napi::Boolean>(),
                                 .trim = target.Get("trim").As<Napi::Boolean>(),
                                 .write_zeroes = target.Get("writeZeroes").As<Napi::Boolean>()};
  auto channel = std::make_shared<NodeChannel>(abilities);
  // Given back when JavaScript has released the function, on its own thread.
  auto* kept = new std::shared_ptr<NodeChannel>(channel);
  napi_create_threadsafe_function(env, target.Get("serve"), nullptr, Napi::String::New(env, "ublk backend"),
                                  0, 1, kept, on_released, channel.get(), on_call, &channel->function_);
  napi_unref_threadsafe_function(env, channel->function_);
  // After the function: clean-up hooks run last to first, and the function does not outlive its own.
  napi_add_env_cleanup_hook(env, on_environment_end, channel.get());
  return channel;
}

void NodeChannel::close() {
  const std::lock_guard lock(function_mutex_);
  if (function_ != nullptr) napi_release_threadsafe_function(function_, napi_tsfn_release);
  function_ = nullptr;
}

void NodeChannel::call_backend() {
  const std::lock_guard lock(function_mutex_);
  if (function_ != nullptr) napi_call_threadsafe_function(function_, nullptr, napi_tsfn_nonblocking);
}

void NodeChannel::on_call(napi_env env, napi_value serve, void* context, void*) {
  if (env == nullptr) return;
  static_cast<NodeChannel*>(context)->serve_lanes(env, Napi::Function(env, serve));
}

void NodeChannel::serve_lanes(Napi::Env env, const Napi::Function& serve) {
  const Napi::HandleScope scope(env);
  const std::vector<std::shared_ptr<JsLane>> lanes = lanes_to_serve();
  for (size_t i = 0; i < lanes.size(); i++) {
    if (i == lane_objects_.size()) lane_objects_.push_back(Napi::Persistent(to_lane_object(env, lanes[i])));
    const size_t count = lanes[i]->take_requests();
    if (count == 0) continue;
    serve.Call({lane_objects_[i].Value(), Napi::Number::New(env, static_cast<double>(count))});
  }
}

// The environment takes its functions down right after this.
void NodeChannel::on_environment_end(void* context) {
  auto* channel = static_cast<NodeChannel*>(context);
  {
    const std::lock_guard lock(channel->function_mutex_);
    channel->function_ = nullptr;
  }
  channel->lose();
}

void NodeChannel::on_released(napi_env env, void* data, void*) {
  auto* kept = static_cast<std::shared_ptr<NodeChannel>*>(data);
  napi_remove_env_cleanup_hook(env, on_environment_end, kept->get());
  (*kept)->lane_objects_.clear();
  delete kept;
}

}  // namespace ublk
