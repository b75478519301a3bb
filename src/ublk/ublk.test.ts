import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { UblkError } from "./errors.js";
import type { DeviceEvent } from "./events.js";
import { FakeAddon } from "./testing/fake-addon.js";
import { deviceStates, FakeKernel } from "./testing/fake-kernel.js";
import { reader } from "./testing/fake-machine.js";
import { Ublk } from "./ublk.js";

const mebibyte = 1 << 20;

let folder: string;
let image: string;
let kernel: FakeKernel;
let addon: FakeAddon;
let ublk: Ublk;

function start(pid = 100): [FakeAddon, Ublk] {
  const server = new FakeAddon(kernel, pid);
  return [server, new Ublk(server, reader(), async () => kernel.deviceIds())];
}

async function failure(promise: Promise<unknown>): Promise<UblkError> {
  const error = await promise.then(
    () => new Error("it succeeded"),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(UblkError);
  return error as UblkError;
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ublk-library-"));
  image = join(folder, "image");
  await writeFile(image, "");
  await truncate(image, mebibyte);
  kernel = new FakeKernel();
  [addon, ublk] = start();
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe("createAndServe", () => {
  test("takes the size of a file from the file and says what the kernel granted", async () => {
    const device = await ublk.createAndServe({ target: { kind: "file", path: image } }, { recoverable: true });
    expect(device).toMatchObject({ deviceId: 0, path: "/dev/ublkb0", sizeBytes: BigInt(mebibyte), state: "open" });
    expect(device.features).toEqual(expect.arrayContaining(["USER_RECOVERY", "USER_RECOVERY_REISSUE", "QUIESCE"]));
    expect(device.lostFeatures).toEqual([]);
    expect(addon.specs[0]).toMatchObject({ deviceId: -1, recover: false, target: { path: image, direct: true } });
  });

  test("asks only for optional features that the kernel offers", async () => {
    kernel.features = 0x1fen;
    await ublk.createAndServe({ target: { kind: "null" }, sizeBytes: mebibyte });
    expect(addon.specs[0]?.features).toBe(0x40n);
  });

  test("names features that the kernel masked", async () => {
    kernel.afterStep = (step) => {
      if (step === "GET_FEATURES") kernel.features = 0x1fen;
    };
    const device = await ublk.createAndServe({ target: { kind: "null" }, sizeBytes: mebibyte });
    expect(device.lostFeatures).toEqual(["UPDATE_SIZE", "SAFE_STOP_DEV", "NO_AUTO_PART_SCAN"]);
  });

  test("refuses a recoverable device on a kernel without recovery, before it makes anything", async () => {
    kernel.features = 0x40n;
    const error = await failure(ublk.createAndServe({ target: { kind: "file", path: image } }, { recoverable: true }));
    expect(error.code).toBe("feature_missing");
    expect(error.message).toContain("USER_RECOVERY (first in kernel 6.1)");
    expect(kernel.devices.size).toBe(0);
  });

  test.each([
    ["a missing image", () => join(folder, "none"), "image_missing"],
    ["a folder", () => folder, "image_unusable"],
    ["a path below a file", () => join(image, "below"), "image_missing"],
  ])("refuses %s", async (_what, path, code) => {
    const error = await failure(ublk.createAndServe({ target: { kind: "file", path: path() } }));
    expect(error.code).toBe(code);
    expect(error.message).toContain(path());
    expect(addon.specs).toEqual([]);
  });

  test("refuses an image smaller than the device, and one that is no multiple of the block", async () => {
    const params = { target: { kind: "file", path: image } as const };
    const small = await failure(ublk.createAndServe({ ...params, sizeBytes: 2 * mebibyte }));
    expect(small.code).toBe("image_unusable");
    await truncate(image, 1000);
    const odd = await failure(ublk.createAndServe(params));
    expect(odd.code).toBe("size_misaligned");
    expect(odd.message).toBe(
      `the size of ${image} is 1000; expected a multiple of the logical block of 512 bytes: use 1024`,
    );
  });

  test.each([
    ["ADD_DEV", "EEXIST", "device_exists"],
    ["ADD_DEV", "EACCES", "device_limit"],
    ["ADD_DEV", "EPERM", "permission_denied"],
    ["ADD_DEV", "ETIMEDOUT", "timeout"],
    ["SET_PARAMS", "EINVAL", "kernel_refused"],
    ["START_DEV", "ENOMEM", "memory_limit"],
  ] as const)("explains %s failing with %s as %s", async (step, errno, code) => {
    kernel.failNext(step, errno);
    const error = await failure(ublk.createAndServe({ target: { kind: "null" }, sizeBytes: mebibyte }));
    expect(error).toMatchObject({ code, step, errnoName: errno, operation: "createAndServe" });
    expect(error.message).toContain(`(${step}, ${errno})`);
    expect(error.cause).toBeInstanceOf(Error);
  });
});

describe("recoverAndServe", () => {
  const target = () => ({ kind: "file", path: image }) as const;

  async function crashedDevice(): Promise<void> {
    await ublk.createAndServe({ target: target() }, { recoverable: true, ownerTag: 7n, queueDepth: 64 });
    addon.kill();
    [addon, ublk] = start(200);
  }

  test("takes over with the geometry the kernel has", async () => {
    await crashedDevice();
    const device = await ublk.recoverAndServe(0, target(), { ownerTag: 7n });
    expect(device).toMatchObject({ deviceId: 0, queueDepth: 64, state: "open" });
    expect(kernel.devices.get(0)).toMatchObject({ state: deviceStates.live, serverPid: 200 });
  });

  test("waits for a server that is still exiting", async () => {
    await ublk.createAndServe({ target: target() }, { recoverable: true });
    const [, next] = start(200);
    setTimeout(() => addon.kill(), 20);
    expect((await next.recoverAndServe(0, target())).state).toBe("open");
  });

  test("tries again while the old descriptor is open", async () => {
    await crashedDevice();
    kernel.failNext("START_USER_RECOVERY", "EBUSY");
    kernel.failNext("START_USER_RECOVERY", "EBUSY");
    expect((await ublk.recoverAndServe(0, target())).state).toBe("open");
  });

  test("gives up on a server that stays, and says which", async () => {
    await ublk.createAndServe({ target: target() }, { recoverable: true });
    const [, next] = start(200);
    const error = await failure(next.recoverAndServe(0, target(), { waitMs: 20 }));
    expect(error.code).toBe("device_busy");
    expect(error.message).toContain("still served by process 100");
  });

  test("refuses another owner's device and leaves it alone", async () => {
    await crashedDevice();
    const error = await failure(ublk.recoverAndServe(0, target(), { ownerTag: 8n }));
    expect(error.code).toBe("owner_mismatch");
    expect(kernel.devices.get(0)?.state).toBe(deviceStates.quiesced);
  });

  test("refuses a device that cannot be recovered, a missing one, and a missing image", async () => {
    kernel.addForeign({ features: 0x40n, state: deviceStates.dead });
    expect((await failure(ublk.recoverAndServe(0, target()))).code).toBe("not_recoverable");
    expect((await failure(ublk.recoverAndServe(5, target()))).code).toBe("device_missing");
    await crashedDevice();
    await rm(image);
    expect((await failure(ublk.recoverAndServe(1, target()))).code).toBe("image_missing");
  });
});

describe("listDevices and removeDevice", () => {
  test("lists every device in the order of ids, with names for states and features", async () => {
    kernel.addForeign();
    kernel.addForeign({ state: deviceStates.quiesced, serverPid: -1 });
    expect(await ublk.listDevices()).toMatchObject([
      { deviceId: 0, path: "/dev/ublkb0", state: "live", serverPid: 4242 },
      { deviceId: 1, state: "quiesced", serverPid: undefined, features: ["USER_RECOVERY", "CMD_IOCTL_ENCODE"] },
    ]);
  });

  test("leaves out a device that goes away meanwhile", async () => {
    kernel.addForeign();
    kernel.failNext("GET_DEV_INFO", "ENODEV");
    expect(await ublk.listDevices()).toEqual([]);
  });

  test.each([
    ["dead", {}, true],
    ["quiesced", {}, false],
    ["quiesced", { force: true }, true],
    ["live", {}, false],
    ["live", { force: true }, false],
  ] as const)("removal of a %s device with %o: %s", async (state, options, removed) => {
    kernel.addForeign({ state: deviceStates[state] });
    const outcome = ublk.removeDevice(0, options);
    if (removed) await outcome;
    else expect((await failure(outcome)).code).toBe("device_busy");
    expect(kernel.devices.has(0)).toBe(!removed);
  });

  test("removal by tag leaves alone the device of somebody else that has the number now", async () => {
    kernel.addForeign({ state: deviceStates.quiesced, ownerTag: 7n });
    expect((await failure(ublk.removeDevice(0, { force: true, ownerTag: 8n }))).code).toBe("device_missing");
    expect(kernel.devices.has(0)).toBe(true);
    await ublk.removeDevice(0, { force: true, ownerTag: 7n });
    expect(kernel.devices.has(0)).toBe(false);
  });
});

test("getFeatures gives names and first kernels", async () => {
  kernel.features = (1n << 3n) | (1n << 40n);
  expect(await ublk.getFeatures()).toEqual([
    { name: "USER_RECOVERY", bit: 3, firstKernel: "6.1" },
    { name: "BIT_40", bit: 40, firstKernel: "unknown" },
  ]);
});

test("events reach every listener until it unsubscribes", async () => {
  const device = await ublk.createAndServe({ target: { kind: "null" }, sizeBytes: mebibyte });
  const events: DeviceEvent[] = [];
  const unsubscribe = device.onEvent((event) => events.push(event));
  addon.emit(0, { kind: "io-error", errno: 5, operation: 1, offsetBytes: 4096n, lengthBytes: 512 });
  await Promise.resolve();
  unsubscribe();
  addon.emit(0, { kind: "stopped" });
  await Promise.resolve();
  expect(events).toEqual([
    { kind: "io-error", operation: "write", errnoName: "EIO", offsetBytes: 4096n, lengthBytes: 512 },
  ]);
  expect(device.state).toBe("ended");
});
