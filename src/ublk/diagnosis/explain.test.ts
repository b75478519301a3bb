import { expect, test } from "@jest/globals";
import { UblkError } from "../errors.js";
import { toNativeFailure } from "../testing/fake-kernel.js";
import { type FakeMachine, reader } from "../testing/fake-machine.js";
import { toUblkError } from "./explain.js";

const context = { operation: "createAndServe", subject: "a device over /srv/a.img", imagePath: "/srv/a.img" };
const kernelRelease = "6.1.0-debian";
const moduleOnDisk = { [`/lib/modules/${kernelRelease}/modules.dep`]: "kernel/drivers/block/ublk_drv.ko.xz:\n" };

const table: [string, string, string, FakeMachine, string, string][] = [
  ["no ublk", "OPEN_CONTROL", "ENOENT", { kernelRelease, files: {} }, "ublk_missing", "6.1.0-debian has no ublk"],
  [
    "module not loaded",
    "OPEN_CONTROL",
    "ENOENT",
    { kernelRelease, files: moduleOnDisk },
    "module_not_loaded",
    "modprobe",
  ],
  [
    "no node in a container",
    "OPEN_CONTROL",
    "ENOENT",
    { files: { "/proc/modules": "ublk_drv 4096 0 - Live\n" } },
    "module_not_loaded",
    "host's /dev",
  ],
  ["not root", "OPEN_CONTROL", "EACCES", { userId: 1000 }, "permission_denied", "as root"],
  ["root without rights", "OPEN_CONTROL", "EPERM", {}, "permission_denied", "privileged"],
  [
    "io_uring disabled",
    "CREATE_RING",
    "EPERM",
    { files: { "/proc/sys/kernel/io_uring_disabled": "2\n" } },
    "io_uring_disabled",
    "kernel.io_uring_disabled=2",
  ],
  ["seccomp", "CREATE_RING", "EPERM", {}, "io_uring_disabled", "seccomp"],
  ["no io_uring", "CREATE_RING", "ENOSYS", {}, "io_uring_missing", "CONFIG_IO_URING"],
  ["device limit", "ADD_DEV", "EACCES", {}, "device_limit", "ublks_max=64"],
  ["image missing", "OPEN_TARGET", "ENOENT", {}, "image_missing", "/srv/a.img does not exist"],
  ["image unreadable", "OPEN_TARGET", "EACCES", {}, "image_unusable", "/srv/a.img cannot be opened"],
  ["no locks", "LOCK_IMAGE", "ENOTSUP", {}, "image_unusable", "/srv/a.img cannot be locked"],
  ["device gone", "STOP_DEV", "ENODEV", {}, "device_missing", "no such device"],
  ["held", "OPEN_CHAR", "EBUSY", {}, "device_busy", "still holds the device"],
  ["lost command", "START_DEV", "ETIMEDOUT", {}, "timeout", "did not finish START_DEV in time"],
  ["old driver", "GET_FEATURES", "ENOTSUP", {}, "feature_missing", "does not know GET_FEATURES"],
];

test.each(table)("%s: %s %s", async (_name, step, errnoName, machine, code, words) => {
  const error = await toUblkError(toNativeFailure(step, errnoName), context, reader(machine));
  expect(error).toMatchObject({ code, step, errnoName, operation: "createAndServe" });
  expect(error.message).toContain(words);
  expect(error.message).toContain("cannot create a device over /srv/a.img: ");
  expect(error.hint).toBeTruthy();
});

test("the whole message of the commonest mistake", async () => {
  const cause = toNativeFailure("OPEN_CONTROL", "ENOENT");
  const { message } = await toUblkError(cause, context, reader({ kernelRelease, files: moduleOnDisk }));
  expect(message).toBe(
    "cannot create a device over /srv/a.img: kernel 6.1.0-debian has ublk_drv, but it is not loaded " +
      '(OPEN_CONTROL, ENOENT): run "modprobe ublk_drv" (and name ublk_drv in /etc/modules-load.d/ to have it after a reboot)',
  );
});

test("an unknown cause keeps its words, its errno and itself", async () => {
  const cause = toNativeFailure("WARP", "EXDEV");
  const error = await toUblkError(cause, context, reader());
  expect(error).toMatchObject({ code: "kernel_refused", errnoName: "EXDEV", cause });
  expect(error.message).toContain("WARP: EXDEV");
});

test("a UblkError passes unchanged", async () => {
  const error = new UblkError("timeout", "x", { operation: "y" });
  expect(await toUblkError(error, context, reader())).toBe(error);
});
