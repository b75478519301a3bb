import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { UblkDevice } from "./device.js";
import type { DeviceUser } from "./diagnosis/device-users.js";
import { FakeAddon } from "./testing/fake-addon.js";
import { deviceStates, FakeKernel } from "./testing/fake-kernel.js";
import { reader } from "./testing/fake-machine.js";
import { Ublk } from "./ublk.js";

let kernel: FakeKernel;
let addon: FakeAddon;
let ublk: Ublk;
let users: DeviceUser[];

beforeEach(() => {
  kernel = new FakeKernel();
  addon = new FakeAddon(kernel, 100);
  users = [];
  ublk = new Ublk(addon, reader(), async () => kernel.deviceIds(), { findUsers: async () => users });
});

afterEach(() => addon.kill());

async function create(recoverable = true): Promise<UblkDevice> {
  return await ublk.createAndServe({ target: { kind: "null" }, sizeBytes: 1 << 20 }, { recoverable });
}

describe("resize", () => {
  test("grows the device", async () => {
    const device = await create();
    await device.resize(2 << 20);
    expect(device.sizeBytes).toBe(2n << 20n);
    expect(kernel.devices.get(0)?.sizeBytes).toBe(2n << 20n);
  });

  test("to the present size does nothing", async () => {
    const device = await create();
    await device.resize(1n << 20n);
    expect(kernel.steps).not.toContain("UPDATE_SIZE 0");
  });

  test.each([
    ["a smaller size", 4096, "expected at least the 1048576 of /dev/ublkb0: a device can only grow"],
    ["no multiple of the block", (2 << 20) + 1, "expected a multiple of the logical block of 512 bytes"],
    ["nothing", 0, "expected 1 to"],
    ["a fraction", 0.5, "expected a whole number or a bigint"],
  ])("refuses %s", async (_what, sizeBytes, message) => {
    const device = await create();
    await expect(device.resize(sizeBytes)).rejects.toThrow(message);
    expect(device.sizeBytes).toBe(1n << 20n);
  });

  test("names UPDATE_SIZE and its first kernel where the kernel lacks it", async () => {
    kernel.features = 0x1fen;
    const device = await create();
    await expect(device.resize(2 << 20)).rejects.toMatchObject({ code: "feature_missing" });
    await expect(device.resize(2 << 20)).rejects.toThrow(
      "without UPDATE_SIZE (first in kernel 6.16) on kernel 7.3.0-test",
    );
  });

  test("keeps the size when the image is too small", async () => {
    const device = await create();
    kernel.failNext("GROW_TARGET", "ENODATA");
    await expect(device.resize(2 << 20)).rejects.toThrow("grow the image first, then the device");
    expect(device.sizeBytes).toBe(1n << 20n);
  });

  test("is refused once the device is released", async () => {
    const device = await create();
    await device.release();
    await expect(device.resize(2 << 20)).rejects.toMatchObject({ code: "device_stopped" });
  });
});

describe("freeze", () => {
  test("holds a group until each is thawed", async () => {
    const devices = [await create(), await create()];
    await ublk.freeze(devices, { deadlineMs: 60_000 });
    expect(devices.map((device) => device.stats().frozen)).toEqual([true, true]);
    expect(await Promise.all(devices.map((device) => device.thaw()))).toEqual([true, true]);
    expect(devices.map((device) => device.stats().frozen)).toEqual([false, false]);
  });

  test("twice is an error of its own", async () => {
    const device = await create();
    await ublk.freeze(device, { deadlineMs: 60_000 });
    await expect(ublk.freeze(device, { deadlineMs: 60_000 })).rejects.toMatchObject({ code: "device_frozen" });
  });

  test("ends by itself, says so, and thaw says that it had ended", async () => {
    const device = await create();
    const thawed = new Promise((resolve) => device.onEvent(resolve));
    await ublk.freeze(device, { deadlineMs: 5 });
    expect(await thawed).toEqual({ kind: "thawed" });
    expect(await device.thaw()).toBe(false);
  });

  test("that its deadline ended is not taken for a later one", async () => {
    const device = await create();
    const thawed = new Promise((resolve) => device.onEvent(resolve));
    const first = await ublk.freeze(device, { deadlineMs: 5 });
    await thawed;
    const second = await ublk.freeze(device, { deadlineMs: 60_000 });
    expect(await device.thaw(first)).toBe(false);
    expect(device.stats().frozen).toBe(true);
    expect(await device.thaw(second)).toBe(true);
  });

  test("that takes too long says what to do", async () => {
    const device = await create();
    kernel.failNext("FREEZE", "ETIMEDOUT");
    await expect(ublk.freeze(device, { deadlineMs: 5 })).rejects.toThrow("try again with a longer deadlineMs");
  });

  test.each([0, -1, 0.5, 600_001, undefined])("refuses a deadline of %s", async (deadlineMs) => {
    const device = await create();
    const frozen = ublk.freeze(device, { deadlineMs: deadlineMs as number });
    await expect(frozen).rejects.toThrow("expected a whole number from 1 to 600000");
  });

  test("does not keep a device from being stopped", async () => {
    const device = await create();
    await ublk.freeze(device, { deadlineMs: 60_000 });
    await device.stop();
    expect(kernel.devices.size).toBe(0);
  });
});

describe("setLimits", () => {
  test("hands the limits on, and 0 to native code for those that are absent", async () => {
    const device = await create();
    await device.setLimits({ iops: 100 });
    expect(addon.specs[0]?.limits).toMatchObject({ iops: 100, readIops: 0 });
    await expect(device.setLimits({ iops: 0 })).rejects.toMatchObject({ code: "invalid_option" });
    expect(addon.specs[0]?.limits).toMatchObject({ iops: 100 });
  });

  test("can be given from the start", async () => {
    await ublk.createAndServe({ target: { kind: "null" }, sizeBytes: 4096 }, { limits: { readIops: 5 } });
    expect(addon.specs[0]?.limits).toMatchObject({ readIops: 5, iops: 0 });
  });
});

describe("quiesce", () => {
  test("leaves the device waiting", async () => {
    const device = await create();
    await device.quiesce();
    expect(device.state).toBe("stopped");
    expect(kernel.devices.get(0)?.state).toBe(deviceStates.quiesced);
    expect(kernel.steps).toContain("QUIESCE_DEV 0");
  });

  test("names QUIESCE where the kernel lacks it, and leaves the device alone", async () => {
    kernel.features = 0x1fen;
    const device = await create();
    await expect(device.quiesce()).rejects.toThrow("without QUIESCE (first in kernel 6.16)");
    expect(device.state).toBe("open");
  });

  test("of a device that cannot wait is refused", async () => {
    const device = await create(false);
    await expect(device.quiesce()).rejects.toMatchObject({ code: "not_recoverable" });
  });
});

describe("stop with onlyIfUnused", () => {
  const shell: DeviceUser = { kind: "process", name: "sh (12)" };

  test("is decided by the kernel where it can, and names the users", async () => {
    const device = await create();
    kernel.opened.add(0);
    users = [shell];
    await expect(device.stop({ onlyIfUnused: true })).rejects.toMatchObject({ code: "device_busy" });
    await expect(device.stop({ onlyIfUnused: true })).rejects.toThrow("/dev/ublkb0 is in use by process sh (12)");
    expect(device.state).toBe("open");
    kernel.opened.delete(0);
    await device.stop({ onlyIfUnused: true });
    expect(kernel.steps).toContain("TRY_STOP_DEV 0");
    expect(kernel.steps).not.toContain("STOP_DEV 0");
  });

  test("is busy even when nobody is found", async () => {
    const device = await create();
    kernel.opened.add(0);
    await expect(device.stop({ onlyIfUnused: true })).rejects.toMatchObject({
      code: "device_busy",
      errnoName: "EBUSY",
    });
  });

  test("looks for users itself where the kernel cannot decide", async () => {
    kernel.features = 0x1fen;
    const device = await create();
    users = [shell];
    await expect(device.stop({ onlyIfUnused: true })).rejects.toMatchObject({ code: "device_busy" });
    users = [];
    await device.stop({ onlyIfUnused: true });
    expect(kernel.steps).toContain("STOP_DEV 0");
  });

  test("does not decide for a stop that is called while it runs", async () => {
    const device = await create();
    kernel.opened.add(0);
    const careful = device.stop({ onlyIfUnused: true });
    const plain = device.stop();
    await expect(careful).rejects.toMatchObject({ code: "device_busy" });
    await plain;
    expect(kernel.devices.size).toBe(0);
  });
});
