#include "binding_files.hpp"

#include <string>

#include "binding_reply.hpp"
#include "image_files.hpp"

namespace ublk {

namespace {

FileRange to_file_range(const Napi::CallbackInfo& info) {
  return {.offset_bytes = to_uint64(info[1]), .length_bytes = to_uint64(info[2])};
}

// Entries are structs of nothing but 64-bit numbers, and travel as one array of them.
template <typename Entry>
Napi::Value from_page(Napi::Env env, const Page<Entry>& page) {
  static_assert(sizeof(Entry) % sizeof(uint64_t) == 0);
  Napi::BigUint64Array numbers =
      Napi::BigUint64Array::New(env, page.entries.size() * sizeof(Entry) / sizeof(uint64_t));
  std::copy(page.entries.begin(), page.entries.end(), reinterpret_cast<Entry*>(numbers.Data()));
  Napi::Object result = Napi::Object::New(env);
  result.Set("entries", numbers);
  result.Set("nextBytes", page.more ? from_uint64(env, page.next_bytes) : env.Undefined());
  return result;
}

// Every call is on no device's lane: what a slow disk holds up waits alone.
template <typename Entry>
Napi::Value read_page(const Napi::CallbackInfo& info,
                      Status (*read)(const std::string&, FileRange, Page<Entry>&)) {
  const std::string path = info[0].As<Napi::String>();
  return on_lane(info.Env(), Executor::no_lane, [read, path, range = to_file_range(info)](const Call& call) {
    auto page = std::make_shared<Page<Entry>>();
    const Status status = read(path, range, *page);
    call.reply.settle(status, [page](Napi::Env env) { return from_page(env, *page); });
  });
}

Napi::Value clone(const Napi::CallbackInfo& info) {
  const std::string source = info[0].As<Napi::String>();
  const std::string target = info[1].As<Napi::String>();
  return on_lane(info.Env(), Executor::no_lane, [source, target](const Call& call) {
    call.reply.settle(clone_file(source, target), undefined);
  });
}

Napi::Value extents(const Napi::CallbackInfo& info) {
  return read_page(info, read_extents);
}

Napi::Value peeked_extents(const Napi::CallbackInfo& info) {
  return read_page(info, peek_extents);
}

Napi::Value data_ranges(const Napi::CallbackInfo& info) {
  return read_page(info, read_data_ranges);
}

}  // namespace

void export_files(Napi::Env env, Napi::Object exports) {
  exports.Set("cloneFile", Napi::Function::New(env, clone));
  exports.Set("readExtents", Napi::Function::New(env, extents));
  exports.Set("peekExtents", Napi::Function::New(env, peeked_extents));
  exports.Set("readDataRanges", Napi::Function::New(env, data_ranges));
}

}  // namespace ublk
