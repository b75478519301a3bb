{
  "target_defaults": {
    "cflags!": ["-fno-rtti", "-std=gnu++17", "-std=gnu++20"],
    "cflags_cc!": ["-fno-rtti", "-std=gnu++17", "-std=gnu++20"],
    "cflags_cc": ["-std=c++20", "-Wall", "-Wextra", "-Werror", "-fno-exceptions", "-O3", "-fvisibility=hidden"]
  },
  "targets": [
    {
      "target_name": "engine",
      "type": "static_library",
      "sources": ["<!@(ls src/*.cpp | grep -v /binding)"],
      "link_settings": {"libraries": ["-l:liburing.a", "-lpthread"]}
    },
    {
      "target_name": "ublk",
      "dependencies": ["engine"],
      "sources": ["<!@(ls src/binding*.cpp)"],
      "include_dirs": ["<!@(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_DISABLE_CPP_EXCEPTIONS"]
    },
    {
      "target_name": "ublk-owner",
      "type": "executable",
      "dependencies": ["engine"],
      "sources": ["tools/ublk_owner.cpp"]
    }
  ]
}
