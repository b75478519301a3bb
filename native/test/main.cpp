#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstdio>

static constexpr unsigned run_seconds_max = 300;

// Some cases mount small file systems to fill them up or to cut them short. In a mount namespace of our own,
// no crash leaves one behind.
static bool hide_mounts() {
  return ::unshare(CLONE_NEWNS) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  if (!hide_mounts()) {
    std::perror("engine-test: cannot make a mount namespace, run it as root");
    return 1;
  }
  // A case that hangs shall fail the run, not stop it for ever.
  ::alarm(run_seconds_max);
  return RUN_ALL_TESTS();
}
