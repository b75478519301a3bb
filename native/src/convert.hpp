#pragma once

#define NAPI_VERSION 8
#include <napi.h>

#include <algorithm>
#include <string>
#include <vector>

#include "device.hpp"
#include "fault_plan.hpp"

namespace ublk {

// Between JavaScript values and the engine's structs. The TypeScript side has checked types and ranges; what
// arrives here in another shape is a bug of the library, not of its user.

inline uint64_t to_uint64(const Napi::Value& value) {
  bool lossless = false;
  return value.As<Napi::BigInt>().Uint64Value(&lossless);
}

inline Napi::BigInt from_uint64(Napi::Env env, uint64_t value) {
  return Napi::BigInt::New(env, value);
}

inline FaultKind to_fault_kind(const std::string& action) {
  if (action == "delay") return FaultKind::delay;
  if (action == "error") return FaultKind::error;
  if (action == "tear") return FaultKind::tear;
  return action == "die" ? FaultKind::die : FaultKind::hang;
}

inline FaultRule to_fault_rule(const Napi::Object& rule) {
  FaultRule result;
  result.operations = rule.Get("operations").As<Napi::Number>();
  result.has_range = rule.Get("hasRange").As<Napi::Boolean>();
  result.offset_bytes = to_uint64(rule.Get("offsetBytes"));
  result.length_bytes = to_uint64(rule.Get("lengthBytes"));
  result.after = rule.Get("after").As<Napi::Number>();
  result.every = rule.Get("every").As<Napi::Number>();
  result.times = rule.Get("times").As<Napi::Number>();
  result.probability = rule.Get("probability").As<Napi::Number>();
  result.fault.kind = to_fault_kind(rule.Get("action").As<Napi::String>());
  result.fault.value = rule.Get("value").As<Napi::Number>();
  return result;
}

inline std::vector<FaultRule> to_fault_rules(const Napi::Array& rules) {
  std::vector<FaultRule> result;
  for (uint32_t i = 0; i < rules.Length(); i++) {
    result.push_back(to_fault_rule(rules.Get(i).As<Napi::Object>()));
  }
  return result;
}

inline TargetKind to_target_kind(const Napi::Object& target) {
  const std::string kind = target.Get("kind").As<Napi::String>();
  if (kind == "memory") return TargetKind::memory;
  if (kind == "file") return TargetKind::file;
  if (kind == "fault") return TargetKind::fault;
  return kind == "js" ? TargetKind::js : TargetKind::null;
}

inline TargetSpec to_target_spec(const Napi::Object& spec) {
  Napi::Object target = spec.Get("target").As<Napi::Object>();
  TargetSpec result;
  result.kind = to_target_kind(target);
  if (result.kind == TargetKind::fault) {
    const uint64_t seed = target.Get("seed").As<Napi::Number>().Uint32Value();
    result.fault = std::make_shared<FaultPlan>(to_fault_rules(target.Get("rules").As<Napi::Array>()), seed);
    target = target.Get("over").As<Napi::Object>();
    result.fault_over = to_target_kind(target);
  }
  if (target.Get("path").IsString()) result.path = target.Get("path").As<Napi::String>();
  if (target.Get("direct").IsBoolean()) result.direct = target.Get("direct").As<Napi::Boolean>();
  result.size_bytes = to_uint64(spec.Get("sizeBytes"));
  result.logical_block_bytes = spec.Get("logicalBlockSizeBytes").As<Napi::Number>();
  result.read_only = spec.Get("readOnly").As<Napi::Boolean>();
  result.discard = spec.Get("discard").As<Napi::Boolean>();
  return result;
}

inline std::vector<uint32_t> to_cpus(const Napi::Array& array) {
  std::vector<uint32_t> cpus;
  for (uint32_t i = 0; i < array.Length(); i++) cpus.push_back(array.Get(i).As<Napi::Number>());
  return cpus;
}

inline uint64_t to_rate(const Napi::Object& limits, const char* name) {
  return static_cast<uint64_t>(limits.Get(name).As<Napi::Number>().Int64Value());
}

inline Limits to_limits(const Napi::Object& limits) {
  return {.read_iops = to_rate(limits, "readIops"),
          .write_iops = to_rate(limits, "writeIops"),
          .iops = to_rate(limits, "iops"),
          .read_bytes = to_rate(limits, "readBytesPerSecond"),
          .write_bytes = to_rate(limits, "writeBytesPerSecond"),
          .bytes = to_rate(limits, "bytesPerSecond"),
          .burst_ms = limits.Get("burstMs").As<Napi::Number>()};
}

inline DeviceSpec to_device_spec(const Napi::Object& spec) {
  DeviceSpec result;
  result.target = to_target_spec(spec);
  result.device_id = spec.Get("deviceId").As<Napi::Number>();
  result.recover = spec.Get("recover").As<Napi::Boolean>();
  result.queue_count = static_cast<uint16_t>(spec.Get("queueCount").As<Napi::Number>().Uint32Value());
  result.queue_depth = static_cast<uint16_t>(spec.Get("queueDepth").As<Napi::Number>().Uint32Value());
  result.max_io_bytes = spec.Get("maxIoBytes").As<Napi::Number>();
  result.features = to_uint64(spec.Get("features"));
  result.cpus = to_cpus(spec.Get("cpus").As<Napi::Array>());
  result.owner_tag = to_uint64(spec.Get("ownerTag"));
  result.limits = to_limits(spec.Get("limits").As<Napi::Object>());
  return result;
}

inline Napi::Object from_status(Napi::Env env, const Status& status) {
  const Napi::Error error = Napi::Error::New(env, status.step + " failed");
  Napi::Object value = error.Value();
  value.Set("errno", Napi::Number::New(env, -status.error));
  value.Set("step", Napi::String::New(env, status.step));
  if (status.waited_ms != 0) value.Set("waitedMs", Napi::Number::New(env, status.waited_ms));
  if (!status.seen.empty()) value.Set("seen", Napi::String::New(env, status.seen));
  return value;
}

inline Napi::Object from_device(Napi::Env env, const Device& device) {
  const abi::DevInfo& info = device.info();
  Napi::Object result = Napi::Object::New(env);
  result.Set("deviceId", Napi::Number::New(env, info.dev_id));
  result.Set("features", from_uint64(env, info.flags));
  result.Set("queueCount", Napi::Number::New(env, info.nr_hw_queues));
  result.Set("queueDepth", Napi::Number::New(env, info.queue_depth));
  result.Set("maxIoBytes", Napi::Number::New(env, info.max_io_buf_bytes));
  result.Set("sizeBytes", from_uint64(env, device.geometry().size_bytes));
  result.Set("direct", Napi::Boolean::New(env, device.direct()));
  result.Set("batch", Napi::Boolean::New(env, device.batch()));
  result.Set("dataMode", Napi::String::New(env, name_of(device.data_mode())));
  return result;
}

inline Napi::Object from_device_info(Napi::Env env, const abi::DevInfo& info, const Geometry& geometry) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("deviceId", Napi::Number::New(env, info.dev_id));
  result.Set("queueCount", Napi::Number::New(env, info.nr_hw_queues));
  result.Set("queueDepth", Napi::Number::New(env, info.queue_depth));
  result.Set("maxIoBytes", Napi::Number::New(env, info.max_io_buf_bytes));
  result.Set("serverPid", Napi::Number::New(env, info.ublksrv_pid));
  result.Set("state", Napi::Number::New(env, info.state));
  result.Set("features", from_uint64(env, info.flags));
  result.Set("ownerTag", from_uint64(env, info.ublksrv_flags));
  result.Set("sizeBytes", from_uint64(env, geometry.size_bytes));
  result.Set("logicalBlockSizeBytes", Napi::Number::New(env, geometry.logical_block_bytes));
  result.Set("readOnly", Napi::Boolean::New(env, geometry.read_only));
  return result;
}

inline Napi::Object from_latency(Napi::Env env, const LatencyCounts& latency) {
  Napi::BigUint64Array counts = Napi::BigUint64Array::New(env, latency.counts.size());
  std::copy(latency.counts.begin(), latency.counts.end(), counts.Data());
  Napi::Object result = Napi::Object::New(env);
  result.Set("sumNs", from_uint64(env, latency.sum_ns));
  result.Set("counts", counts);
  return result;
}

inline Napi::Object from_counters(Napi::Env env, const DeviceCounters& counters) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("reads", from_uint64(env, counters.reads));
  result.Set("writes", from_uint64(env, counters.writes));
  result.Set("flushes", from_uint64(env, counters.flushes));
  result.Set("discards", from_uint64(env, counters.discards));
  result.Set("writeZeroes", from_uint64(env, counters.write_zeroes));
  result.Set("readBytes", from_uint64(env, counters.read_bytes));
  result.Set("writeBytes", from_uint64(env, counters.write_bytes));
  result.Set("errors", from_uint64(env, counters.errors));
  result.Set("inFlight", Napi::Number::New(env, counters.in_flight));
  result.Set("discardBytes", from_uint64(env, counters.discard_bytes));
  result.Set("writeZeroesBytes", from_uint64(env, counters.write_zeroes_bytes));
  result.Set("waiting", Napi::Number::New(env, counters.waiting));
  result.Set("throttled", from_uint64(env, counters.throttled));
  result.Set("throttledNs", from_uint64(env, counters.throttled_ns));
  result.Set("frozen", Napi::Boolean::New(env, counters.frozen));
  const Napi::Object latency = Napi::Object::New(env);
  latency.Set("read", from_latency(env, counters.read_latency));
  latency.Set("write", from_latency(env, counters.write_latency));
  latency.Set("flush", from_latency(env, counters.flush_latency));
  latency.Set("discard", from_latency(env, counters.discard_latency));
  latency.Set("writeZeroes", from_latency(env, counters.write_zeroes_latency));
  result.Set("latency", latency);
  return result;
}

inline Napi::Object from_io_error(Napi::Env env, const IoError& error) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("kind", "io-error");
  result.Set("errno", Napi::Number::New(env, error.error));
  result.Set("operation", Napi::Number::New(env, error.operation));
  result.Set("offsetBytes", from_uint64(env, error.offset_bytes));
  result.Set("lengthBytes", Napi::Number::New(env, static_cast<double>(error.length_bytes)));
  return result;
}

// An event that says no more than its kind.
inline Napi::Object from_kind(Napi::Env env, const char* kind) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("kind", kind);
  return result;
}

}  // namespace ublk
