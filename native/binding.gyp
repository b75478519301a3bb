{
  "targets": [
    {
      "target_name": "ublk",
      "sources": ["<!@(ls src/*.cpp)"],
      "include_dirs": ["<!@(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_DISABLE_CPP_EXCEPTIONS"],
      "cflags!": ["-fno-rtti", "-std=gnu++17", "-std=gnu++20"],
      "cflags_cc!": ["-fno-rtti", "-std=gnu++17", "-std=gnu++20"],
      "cflags_cc": ["-std=c++20", "-Wall", "-Wextra", "-Werror", "-fno-exceptions", "-O3", "-fvisibility=hidden"],
      "libraries": ["-l:liburing.a", "-lpthread"]
    }
  ]
}
