// One server for one image: the lock by itself, and devices that meet it, over fakes of the driver.
#include "image_lock.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <thread>

#include "device_rig.hpp"
#include "wait_until.hpp"

namespace ublk {
namespace {

UniqueFd open_image(const std::string& path, int access = O_RDWR) {
  return UniqueFd(::open(path.c_str(), access | O_CLOEXEC));
}

class ImageLock : public ::testing::Test {
 protected:
  const Scratch scratch_;
  const std::string image_ = scratch_.file("image", 4096);
};

TEST_F(ImageLock, IsOneWritersAlone) {
  const UniqueFd first = open_image(image_);
  const UniqueFd second = open_image(image_);
  EXPECT_EQ(lock_image(first.get(), false), 0);
  EXPECT_EQ(lock_image(second.get(), false), -EAGAIN) << "in the same process, too";
  EXPECT_EQ(lock_image(second.get(), true), -EAGAIN);
}

TEST_F(ImageLock, IsSharedByReaders) {
  const UniqueFd first = open_image(image_, O_RDONLY);
  const UniqueFd second = open_image(image_, O_RDONLY);
  const UniqueFd writer = open_image(image_);
  EXPECT_EQ(lock_image(first.get(), true), 0);
  EXPECT_EQ(lock_image(second.get(), true), 0);
  EXPECT_EQ(lock_image(writer.get(), false), -EAGAIN);
}

TEST_F(ImageLock, LastsAsLongAsAnybodyHasTheOpenFile) {
  UniqueFd first = open_image(image_);
  ASSERT_EQ(lock_image(first.get(), false), 0);
  UniqueFd in_a_ring(::dup(first.get()));
  open_image(image_).reset();  // which ends the locks of a process, but not those of an open file
  first.reset();
  const UniqueFd second = open_image(image_);
  EXPECT_EQ(lock_image(second.get(), false), -EAGAIN);
  in_a_ring.reset();
  EXPECT_EQ(lock_image(second.get(), false), 0);
}

TEST_F(ImageLock, EndsWithAKilledProcess) {
  int told[2] = {};
  ASSERT_EQ(::pipe(told), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const int fd = ::open(image_.c_str(), O_RDWR);
    const char locked = lock_image(fd, false) == 0 ? 1 : 0;
    if (::write(told[1], &locked, 1) != 1) ::_exit(1);
    while (true) ::pause();
  }
  char locked = 0;
  ASSERT_EQ(::read(told[0], &locked, 1), 1);
  ASSERT_EQ(locked, 1);
  const UniqueFd second = open_image(image_);
  EXPECT_EQ(lock_image(second.get(), false), -EAGAIN);
  ::kill(child, SIGKILL);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_EQ(lock_image(second.get(), false), 0);
  ::close(told[0]);
  ::close(told[1]);
}

class LockedDevices : public DeviceRig {
 protected:
  bool has_logged(const std::string& step) const {
    const Log log = kernel_.log();
    return std::find(log.begin(), log.end(), step) != log.end();
  }
};

TEST_F(LockedDevices, AreNotMadeOverAnImageThatIsServed) {
  const UniqueFd other = open_image(image());
  ASSERT_EQ(lock_image(other.get(), false), 0);
  const Status status = device(spec())->open(control_);
  EXPECT_EQ(status.step, "LOCK_IMAGE");
  EXPECT_EQ(status.error, -EAGAIN);
  EXPECT_EQ(news(), Log{}) << "the kernel has not heard of it";
}

TEST_F(LockedDevices, HoldTheirImageUntilTheyAreGone) {
  const auto disk = opened(spec());
  const UniqueFd other = open_image(image());
  EXPECT_EQ(lock_image(other.get(), false), -EAGAIN);
  EXPECT_TRUE(disk->remove(control_).ok());
  EXPECT_TRUE(wait_until([&] { return lock_image(other.get(), false) == 0; })) << "once the rings have ended";
}

TEST_F(LockedDevices, ReadImagesSideBySide) {
  DeviceSpec wanted = spec();
  wanted.target.read_only = true;
  const UniqueFd other = open_image(image(), O_RDONLY);
  ASSERT_EQ(lock_image(other.get(), true), 0);
  EXPECT_TRUE(opened(wanted)->remove(control_).ok());
}

TEST_F(LockedDevices, AreTakenBackWhenTheOldServerLetsGo) {
  opened(spec())->release();
  driver_.forget_tags();
  kernel_.leave_quiesced(kernel_.info(), kernel_.params());
  UniqueFd old_server = open_image(image());
  ASSERT_TRUE(wait_until([&] { return lock_image(old_server.get(), false) == 0; }));
  DeviceSpec wanted = spec();
  wanted.recover = true;
  wanted.device_id = FakeControl::device_id;
  const auto heir = device(std::move(wanted));
  Status status;
  news();
  std::thread recovery([&] { status = heir->open(control_); });
  EXPECT_TRUE(wait_until([&] { return kernel_.log().size() >= told_ + 2; })) << "it knows the device";
  EXPECT_FALSE(has_logged("START_USER_RECOVERY")) << "and waits for the image";
  old_server.reset();
  recovery.join();
  EXPECT_TRUE(status.ok()) << status.step << status.error;
  EXPECT_TRUE(has_logged("START_USER_RECOVERY"));
  EXPECT_TRUE(heir->remove(control_).ok());
}

}  // namespace
}  // namespace ublk
