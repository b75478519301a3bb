#pragma once

#define NAPI_VERSION 8
#include <napi.h>

namespace ublk {

// Adds what works on whole image files to the addon: FileAddon in src/ublk/addon.ts.
void export_files(Napi::Env env, Napi::Object exports);

}  // namespace ublk
