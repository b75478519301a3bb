import { beforeEach, describe, expect, test } from "@jest/globals";
import { UblkDevice, type UblkDeviceState } from "./device.js";
import { UblkError } from "./errors.js";
import { FakeAddon } from "./testing/fake-addon.js";
import { deviceStates, FakeKernel } from "./testing/fake-kernel.js";
import { reader } from "./testing/fake-machine.js";
import { Ublk } from "./ublk.js";

let kernel: FakeKernel;
let addon: FakeAddon;
let device: UblkDevice;

beforeEach(async () => {
  kernel = new FakeKernel();
  addon = new FakeAddon(kernel, 100);
  const ublk = new Ublk(addon, reader(), async () => kernel.deviceIds());
  device = await ublk.createAndServe({ target: { kind: "null" }, sizeBytes: 4096 }, { recoverable: true });
});

const bring: Record<string, () => unknown> = {
  open: () => {},
  ended: async () => {
    addon.emit(0, { kind: "stopped" });
    await Promise.resolve();
  },
  stopping: () => void device.stop(),
  stopped: () => device.stop(),
  releasing: () => void device.release(),
  released: () => device.release(),
};

const verbs: Record<string, () => unknown> = {
  stats: () => device.stats(),
  stop: () => device.stop(),
  release: () => device.release(),
  onEvent: () => device.onEvent(() => {}),
  resize: () => device.resize(8192),
  setLimits: () => device.setLimits({ iops: 1 }),
  thaw: () => device.thaw(),
  freeze: () => UblkDevice.freeze([device], { deadlineMs: 1 }),
  quiesce: () => device.quiesce(),
};

const allowed: Record<string, Record<string, boolean>> = {
  open: {
    stats: true,
    stop: true,
    release: true,
    onEvent: true,
    resize: true,
    setLimits: true,
    thaw: true,
    freeze: true,
    quiesce: true,
  },
  ended: {
    stats: true,
    stop: true,
    release: true,
    onEvent: true,
    resize: false,
    setLimits: false,
    thaw: false,
    freeze: false,
    quiesce: true,
  },
  stopping: {
    stats: false,
    stop: true,
    release: false,
    onEvent: true,
    resize: false,
    setLimits: false,
    thaw: false,
    freeze: false,
    quiesce: false,
  },
  stopped: {
    stats: false,
    stop: true,
    release: false,
    onEvent: true,
    resize: false,
    setLimits: false,
    thaw: false,
    freeze: false,
    quiesce: false,
  },
  releasing: {
    stats: false,
    stop: false,
    release: true,
    onEvent: true,
    resize: false,
    setLimits: false,
    thaw: false,
    freeze: false,
    quiesce: true,
  },
  released: {
    stats: false,
    stop: false,
    release: true,
    onEvent: true,
    resize: false,
    setLimits: false,
    thaw: false,
    freeze: false,
    quiesce: true,
  },
};

const cases = Object.entries(allowed).flatMap(([state, row]) =>
  Object.entries(row).map(([verb, works]) => [state, verb, works ? "works" : "is refused"] as const),
);

describe("states crossed with methods", () => {
  test.each(cases)("%s: %s %s", async (state, verb, outcome) => {
    await bring[state]?.();
    const call = async () => await verbs[verb]?.();
    if (outcome === "works") await call();
    else await expect(call()).rejects.toMatchObject({ code: "device_stopped" });
  });
});

test("states follow the life of a device", async () => {
  const seen: UblkDeviceState[] = [device.state];
  const stopping = device.stop();
  seen.push(device.state);
  await stopping;
  seen.push(device.state);
  expect(seen).toEqual(["open", "stopping", "stopped"]);
  expect(kernel.devices.size).toBe(0);
});

test("stopping twice at once stops once", async () => {
  await Promise.all([device.stop(), device.stop()]);
  expect(kernel.steps.filter((step) => step === "STOP_DEV 0")).toHaveLength(1);
});

test("a failed stop names its step and may be tried again", async () => {
  kernel.failNext("DEL_DEV", "ETIMEDOUT");
  await expect(device.stop()).rejects.toMatchObject({ code: "timeout", step: "DEL_DEV" });
  expect(device.state).toBe("open");
  await device.stop();
  expect(kernel.devices.size).toBe(0);
});

test("a released device waits in the kernel", async () => {
  await device.release();
  expect(kernel.devices.get(0)?.state).toBe(deviceStates.quiesced);
});

test("a device that is not recoverable cannot be released", async () => {
  const ublk = new Ublk(addon, reader(), async () => kernel.deviceIds());
  const plain = await ublk.createAndServe({ target: { kind: "null" }, sizeBytes: 4096 });
  await expect(plain.release()).rejects.toMatchObject({ code: "not_recoverable" });
  expect(plain.state).toBe("open");
});

test("errors are UblkErrors with a name, a code and a hint in the message", async () => {
  await device.stop();
  const error = (() => {
    try {
      return device.stats();
    } catch (reason) {
      return reason;
    }
  })();
  expect(error).toBeInstanceOf(UblkError);
  expect(error).toMatchObject({ name: "UblkError", code: "device_stopped" });
  expect((error as Error).message).toBe("/dev/ublkb0 is stopped: read the counters before stop or release");
});
