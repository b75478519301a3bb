#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  if (::geteuid() != 0) {
    std::fputs("engine-test: must run as root, because it mounts small file systems to fill them up\n",
               stderr);
    return 1;
  }
  return RUN_ALL_TESTS();
}
