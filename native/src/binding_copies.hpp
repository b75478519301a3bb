#pragma once

#define NAPI_VERSION 8
#include <napi.h>

#include <vector>

#include "image_copy.hpp"

namespace ublk {

// The functions of the addon that copy images, see src/ublk/addon.ts.
void export_copies(Napi::Env env, Napi::Object exports);

// From an array of handles.
std::vector<SharedCopy> to_copies(const Napi::Array& handles);

}  // namespace ublk
