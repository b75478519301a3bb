import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { FakeAddon } from "../testing/fake-addon.js";
import { FakeKernel } from "../testing/fake-kernel.js";
import { reader } from "../testing/fake-machine.js";
import { Ublk } from "../ublk.js";

const pid = 100;
const backend = { size: 1n << 20n, readAt: () => {}, writeAt: () => {} };

let kernel: FakeKernel;
let addon: FakeAddon;
let below: number[];
let ublk: Ublk;
let folder: string;
let image: string;

beforeEach(async () => {
  kernel = new FakeKernel();
  addon = new FakeAddon(kernel, pid);
  below = [];
  const settings = { ownPid: pid, findBelow: async () => below };
  ublk = new Ublk(addon, reader(), async () => kernel.deviceIds(), settings);
  folder = await mkdtemp(join(tmpdir(), "ublk-targets-"));
  image = join(folder, "image");
  await writeFile(image, "");
  await truncate(image, 1 << 20);
});

afterEach(() => rm(folder, { recursive: true }));

describe("a js target", () => {
  test("has the size of its backend, or less", async () => {
    expect((await ublk.createAndServe({ target: { kind: "js", backend } })).sizeBytes).toBe(1n << 20n);
    const small = await ublk.createAndServe({ target: { kind: "js", backend }, sizeBytes: 4096 });
    expect(small.sizeBytes).toBe(4096n);
    const large = ublk.createAndServe({ target: { kind: "js", backend }, sizeBytes: 1 << 21 });
    await expect(large).rejects.toThrow("the backend has 1048576 bytes, fewer than the sizeBytes of 2097152");
  });

  test("refuses a backend that ends inside a block", async () => {
    const odd = { ...backend, size: 1000n };
    const made = ublk.createAndServe({ target: { kind: "js", backend: odd } });
    await expect(made).rejects.toThrow("the size of the backend is 1000; expected a multiple of the logical block");
  });

  test("is recovered with a backend", async () => {
    const device = await ublk.createAndServe({ target: { kind: "js", backend } }, { recoverable: true });
    await device.release();
    const again = await ublk.recoverAndServe(device.deviceId, { kind: "js", backend });
    expect(again.deviceId).toBe(device.deviceId);
    expect(addon.specs.at(-1)).toMatchObject({ recover: true, target: { kind: "js" } });
  });
});

describe("a fault target", () => {
  test("takes other rules while it serves, once they are valid", async () => {
    const target = { kind: "fault", over: { kind: "memory" }, rules: [] } as const;
    const device = await ublk.createAndServe({ target, sizeBytes: 4096 });
    await device.setFaultRules([{ error: "EIO" }]);
    expect(addon.specs[0]?.target).toMatchObject({ rules: [{ action: "error" }] });
    await expect(device.setFaultRules([{ error: "E" }])).rejects.toThrow('target.rules[0].error is "E"; expected');
  });

  test("is needed for that", async () => {
    const device = await ublk.createAndServe({ target: { kind: "null" }, sizeBytes: 4096 });
    await expect(device.setFaultRules([])).rejects.toMatchObject({ code: "invalid_option" });
  });
});

describe("an image on a ublk device", () => {
  test("of the same process is refused", async () => {
    const lower = await ublk.createAndServe({ target: { kind: "null" }, sizeBytes: 4096 });
    below = [lower.deviceId];
    const upper = ublk.createAndServe({ target: { kind: "file", path: image } });
    await expect(upper).rejects.toMatchObject({ code: "image_unusable" });
    await expect(upper).rejects.toThrow(`${image} lies on /dev/ublkb0, which this process serves itself: serve one`);
    expect(kernel.deviceIds()).toEqual([0]);
  });

  test("of another process is fine", async () => {
    below = [kernel.addForeign().deviceId];
    await expect(ublk.createAndServe({ target: { kind: "file", path: image } })).resolves.toBeDefined();
  });

  test("that shall be recovered from it is refused", async () => {
    const device = await ublk.createAndServe({ target: { kind: "file", path: image } }, { recoverable: true });
    await device.release();
    below = [device.deviceId];
    const again = ublk.recoverAndServe(device.deviceId, { kind: "file", path: image });
    await expect(again).rejects.toThrow(`${image} lies on /dev/ublkb0, the device itself`);
  });
});
