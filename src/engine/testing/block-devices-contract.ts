import { readFile, truncate, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type {
  BlockDevice,
  BlockDeviceEvent,
  BlockDeviceLimits,
  BlockDeviceSpec,
  BlockDevices,
} from "../block-devices.js";
import { waitFor } from "../devices/block-nodes.js";

/** A machine on which an implementation of {@link BlockDevices} runs, as its contract test sees it. */
export interface BlockDevicesHarness {
  devices: BlockDevices;
  /** Whether an engine in another process serves, which adopts when it starts and keeps idle devices when it ends. */
  isRemote: boolean;
  /** Makes an image and the spec of a volume over it. */
  createVolume(volumeId: string): Promise<BlockDeviceSpec>;
  /** Gives an image another size. */
  resizeImage(spec: BlockDeviceSpec, sizeBytes: bigint): Promise<void>;
  /** Whether devices can be resized while they are used, which takes a kernel of 6.16. */
  canResize: boolean;
  /** The limits that the device of a volume has now, as far as the machine shows them. */
  readLimits(volumeId: string): Promise<BlockDeviceLimits>;
  /** Resolves once events that happen from now on are heard. */
  waitUntilListening(devices: BlockDevices): Promise<void>;
  /** Uses the device, as a mount does, until the returned function is called. */
  hold(device: BlockDevice): Promise<() => Promise<void>>;
  /** Ends the implementation as SIGKILL would and starts another; the new one has adopted nothing yet. */
  restartAfterKill(): Promise<BlockDevices>;
  /** Starts another after `close`. */
  restartAfterClose(): Promise<BlockDevices>;
  destroy(): Promise<void>;
}

/** What every implementation of {@link BlockDevices} keeps to. */
export function describeBlockDevices(name: string, createHarness: () => Promise<BlockDevicesHarness>): void {
  describe(`${name} keeps the contract of BlockDevices:`, () => {
    let harness: BlockDevicesHarness;
    let devices: BlockDevices;

    beforeEach(async () => {
      harness = await createHarness();
      devices = harness.devices;
    });

    afterEach(async () => {
      await harness.destroy();
    });

    test("attach makes a live device of the asked size and access", async () => {
      const spec = await harness.createVolume("one");
      const device = await devices.attach(spec);
      expect(device).toEqual({
        volumeId: "one",
        deviceId: device.deviceId,
        path: `/dev/ublkb${device.deviceId}`,
        sizeBytes: spec.sizeBytes,
        readOnly: false,
        state: "live",
        serving: {
          features: expect.arrayContaining(["USER_RECOVERY", "USER_RECOVERY_REISSUE"]),
          dataMode: expect.stringMatching(/copy$/),
          batch: false,
          direct: expect.any(Boolean),
          queueCount: 1,
          queueDepth: 64,
        },
      });
      expect(await devices.find("one")).toEqual(device);
      expect(await devices.list()).toEqual([device]);
    });

    test("attach of the same spec returns the device there is, also to callers at the same time", async () => {
      const spec = await harness.createVolume("one");
      const [first, second] = await Promise.all([devices.attach(spec), devices.attach(spec)]);
      expect(second).toEqual(first);
      expect(await devices.attach(spec)).toEqual(first);
      expect(await devices.list()).toHaveLength(1);
    });

    test("volumes get devices of their own", async () => {
      const specs = await Promise.all(["one", "two", "three"].map((id) => harness.createVolume(id)));
      const made = await Promise.all(specs.map((spec) => devices.attach(spec)));
      expect(new Set(made.map(({ deviceId }) => deviceId)).size).toBe(3);
    });

    test.each<[string, (spec: BlockDeviceSpec) => Partial<BlockDeviceSpec>]>([
      ["size", ({ sizeBytes }) => ({ sizeBytes: sizeBytes / 2n })],
      ["access", ({ readOnly }) => ({ readOnly: !readOnly })],
      ["block", () => ({ logicalBlockSizeBytes: 4096 })],
      ["image", ({ image }) => ({ image: { ...image, path: `${image.path}-other` } })],
    ])("attach with another %s fails with spec_mismatch and leaves the device", async (_what, change) => {
      const spec = await harness.createVolume("one");
      const device = await devices.attach(spec);
      await expect(devices.attach({ ...spec, ...change(spec) })).rejects.toMatchObject({ code: "spec_mismatch" });
      expect(await devices.find("one")).toEqual(device);
    });

    test("one image never gets two devices", async () => {
      const spec = await harness.createVolume("one");
      const twice = await Promise.allSettled([devices.attach(spec), devices.attach({ ...spec, volumeId: "two" })]);
      expect(twice.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
      expect(await devices.list()).toHaveLength(1);
    });

    test("attach without an image fails with image_missing and leaves nothing", async () => {
      const spec = await harness.createVolume("one");
      const image = { ...spec.image, path: `${spec.image.path}-none` };
      await expect(devices.attach({ ...spec, image })).rejects.toMatchObject({ code: "image_missing" });
      expect(await devices.find("one")).toBeUndefined();
      expect(await devices.attach(spec)).toMatchObject({ state: "live" });
    });

    test("detach removes the device, and is a success without one", async () => {
      await devices.attach(await harness.createVolume("one"));
      await devices.detach("one");
      expect(await devices.find("one")).toBeUndefined();
      expect(await devices.list()).toEqual([]);
      await devices.detach("one");
      await devices.detach("never-seen");
    });

    test("detach of a used device fails with in_use and leaves it serving", async () => {
      const device = await devices.attach(await harness.createVolume("one"));
      const letGo = await harness.hold(device);
      await expect(devices.detach("one")).rejects.toMatchObject({ code: "in_use" });
      expect(await devices.find("one")).toEqual(device);
      await letGo();
      await devices.detach("one");
      expect(await devices.find("one")).toBeUndefined();
    });

    test("after a kill, adopt takes every device back under its number", async () => {
      const device = await devices.attach(await harness.createVolume("one"));
      const next = await harness.restartAfterKill();
      const action = harness.isRemote ? "kept" : "adopted";
      expect(await next.adopt()).toMatchObject({ entries: [{ volumeId: "one", action }] });
      expect(await next.find("one")).toEqual(device);
      expect(await next.adopt()).toMatchObject({ entries: [{ volumeId: "one", action: "kept" }] });
      await next.detach("one");
    });

    test("close leaves what is used to the next, and an engine of its own the idle ones too", async () => {
      const idle = await devices.attach(await harness.createVolume("idle"));
      const used = await devices.attach(await harness.createVolume("used"));
      const letGo = await harness.hold(used);
      await devices.close();
      const next = await harness.restartAfterClose();
      await next.adopt();
      const left = (await next.list()).sort((a, b) => a.deviceId - b.deviceId);
      expect(left).toEqual(harness.isRemote ? [idle, used] : [used]);
      await letGo();
      await next.detach("used");
    });

    test("after close nothing is attached or detached", async () => {
      const spec = await harness.createVolume("one");
      await devices.close();
      await expect(devices.attach(spec)).rejects.toMatchObject({ code: "unavailable" });
      await expect(devices.detach("one")).rejects.toMatchObject({ code: "unavailable" });
    });

    const kernelTest = (title: string, body: () => Promise<void>) =>
      test(title, async () => {
        if (harness.canResize) return await body();
        const device = await devices.attach(await harness.createVolume("one"));
        const refusal = { code: "unsupported", message: expect.stringContaining("UPDATE_SIZE (first in kernel 6.16)") };
        await expect(devices.resize("one", device.sizeBytes * 2n)).rejects.toMatchObject(refusal);
        expect(await devices.find("one")).toEqual(device);
      });

    test("capabilities say whether resize works", async () => {
      expect(await devices.capabilities()).toEqual({ onlineResize: harness.canResize });
    });

    kernelTest("resize grows a device, which keeps the size over a kill and is known by it from then on", async () => {
      const spec = await harness.createVolume("one");
      const device = await devices.attach(spec);
      const sizeBytes = spec.sizeBytes * 2n;
      await expect(devices.resize("one", sizeBytes)).rejects.toMatchObject({ code: "image_missing" });
      await harness.resizeImage(spec, sizeBytes);
      const grown = await devices.resize("one", sizeBytes);
      expect(grown).toEqual({ ...device, sizeBytes });
      expect(await devices.resize("one", sizeBytes)).toEqual(grown);
      expect(await devices.attach({ ...spec, sizeBytes })).toEqual(grown);
      await expect(devices.attach(spec)).rejects.toMatchObject({ code: "spec_mismatch" });
      const next = await harness.restartAfterKill();
      await next.adopt();
      expect(await next.find("one")).toEqual(grown);
    });

    kernelTest("resize down, or to half a block, is refused and changes nothing", async () => {
      const device = await devices.attach(await harness.createVolume("one"));
      for (const sizeBytes of [device.sizeBytes / 2n, device.sizeBytes + 1n]) {
        await expect(devices.resize("one", sizeBytes)).rejects.toMatchObject({ code: "invalid" });
      }
      expect(await devices.find("one")).toEqual(device);
    });

    test("limits are replaced and lifted, and survive a kill", async () => {
      await devices.attach(await harness.createVolume("one"));
      await devices.setLimits("one", { iops: 100, readBytesPerSecond: 2 ** 39 });
      await devices.setLimits("one", {});
      await devices.setLimits("one", { writeIops: 7, burstMs: 50 });
      expect(await harness.readLimits("one")).toEqual({ writeIops: 7, burstMs: 50 });
      const next = await harness.restartAfterKill();
      await next.adopt();
      expect(await harness.readLimits("one")).toEqual({ writeIops: 7, burstMs: 50 });
    });

    test("the volumes with a device are named, and no others", async () => {
      for (const volumeId of ["one", "two"]) await devices.attach(await harness.createVolume(volumeId));
      await devices.detach("one");
      expect(await devices.listVolumeIds()).toEqual(["two"]);
    });

    test("a limit of zero is refused and leaves the limits there were", async () => {
      await devices.attach(await harness.createVolume("one"));
      await devices.setLimits("one", { iops: 100 });
      await expect(devices.setLimits("one", { readIops: 0 })).rejects.toMatchObject({ code: "invalid" });
      expect(await harness.readLimits("one")).toEqual({ iops: 100 });
    });

    test("a group freezes until it is thawed, and no device twice", async () => {
      for (const volumeId of ["one", "two"]) await devices.attach(await harness.createVolume(volumeId));
      const first = await devices.freeze(["one"], { deadlineMs: 60_000 });
      await expect(devices.freeze(["two", "one"], { deadlineMs: 60_000 })).rejects.toMatchObject({ code: "frozen" });
      expect(await devices.stats("two")).toMatchObject({ frozen: false });
      expect(await devices.stats("one")).toMatchObject({ frozen: true });
      await devices.thaw(["one"], first);
      const second = await devices.freeze(["one", "two"], { deadlineMs: 60_000 });
      await expect(devices.detach("two")).rejects.toMatchObject({ code: "frozen" });
      await devices.thaw(["one", "two"], second);
      expect(await devices.stats("two")).toMatchObject({ frozen: false });
    });

    test("thaw says when the deadline was faster", async () => {
      await devices.attach(await harness.createVolume("one"));
      const token = await devices.freeze(["one"], { deadlineMs: 200 });
      await waitFor(async () => !(await devices.stats("one")).frozen, { timeoutMs: 10_000 });
      await expect(devices.thaw(["one"], token)).rejects.toMatchObject({ code: "frozen" });
    });

    test("thaw neither ends the freeze of somebody else nor takes it for the own that its deadline ended", async () => {
      await devices.attach(await harness.createVolume("one"));
      const slow = await devices.freeze(["one"], { deadlineMs: 200 });
      await waitFor(async () => !(await devices.stats("one")).frozen, { timeoutMs: 10_000 });
      const other = await devices.freeze(["one"], { deadlineMs: 60_000 });
      await expect(devices.thaw(["one"], slow)).rejects.toMatchObject({ code: "frozen" });
      expect(await devices.stats("one")).toMatchObject({ frozen: true });
      await devices.thaw(["one"], other);
      expect(await devices.stats("one")).toMatchObject({ frozen: false });
    });

    test("a volume without a device has nothing to resize, limit, freeze or count", async () => {
      await devices.attach(await harness.createVolume("one"));
      const refused = { code: "not_found", message: expect.stringContaining("none") };
      await expect(devices.resize("none", 1n << 20n)).rejects.toMatchObject(refused);
      await expect(devices.setLimits("none", {})).rejects.toMatchObject(refused);
      await expect(devices.freeze(["one", "none"], { deadlineMs: 1_000 })).rejects.toMatchObject(refused);
      await expect(devices.thaw(["none"], 1n)).rejects.toMatchObject(refused);
      await expect(devices.stats("none")).rejects.toMatchObject(refused);
      expect(await devices.stats("one")).toMatchObject({ frozen: false });
    });

    test("a copy of an image without a device ends with its bytes, and is known until it is ended", async () => {
      const { spec, bytes } = await createCopy(harness, "one");
      await devices.startCopies([spec], { deadlineMs: 1_000 });
      await devices.startCopies([spec], { deadlineMs: 1_000 });
      await waitUntil(async () => (await devices.findCopy(spec.copyId))?.state === "done");
      expect(await devices.findCopy(spec.copyId)).toEqual({
        copyId: spec.copyId,
        volumeId: "one",
        state: "done",
        copiedBytes: spec.sizeBytes,
        totalBytes: spec.sizeBytes,
      });
      expect((await readFile(spec.targetPath)).equals(bytes)).toBe(true);
      await devices.endCopy(spec.copyId);
      await devices.endCopy(spec.copyId);
      expect(await devices.findCopy(spec.copyId)).toBeUndefined();
      expect((await readFile(spec.targetPath)).equals(bytes)).toBe(true);
    });

    test("a copy of an image with a device is of one instant, and is known to the next engine", async () => {
      const { spec, bytes } = await createCopy(harness, "one");
      await devices.attach({
        ...spec,
        image: spec.source,
        readOnly: false,
        discard: false,
        logicalBlockSizeBytes: 512,
      });
      await devices.startCopies([spec], { deadlineMs: 5_000 });
      const next = await harness.restartAfterKill();
      await next.adopt();
      await waitUntil(async () => (await next.findCopy(spec.copyId))?.state === "done");
      expect((await readFile(spec.targetPath)).equals(bytes)).toBe(true);
      await next.endCopy(spec.copyId);
    });

    test("a copy id belongs to one copy, and copies begin together or not at all", async () => {
      const { spec } = await createCopy(harness, "one");
      const missing = { ...spec, copyId: "other", targetPath: `${spec.targetPath}-none` };
      await expect(devices.startCopies([spec, missing], { deadlineMs: 1_000 })).rejects.toMatchObject({
        code: "invalid",
      });
      expect(await devices.findCopy(spec.copyId)).toBeUndefined();
      await devices.startCopies([spec], { deadlineMs: 1_000 });
      const another = { ...spec, volumeId: "two" };
      await expect(devices.startCopies([another], { deadlineMs: 1_000 })).rejects.toMatchObject({
        code: "spec_mismatch",
      });
      await expect(devices.startCopies([spec, missing], { deadlineMs: 1_000 })).rejects.toMatchObject({
        code: "spec_mismatch",
      });
      await devices.endCopy(spec.copyId);
    });

    test("a copy of an image that is not there fails with image_missing", async () => {
      const { spec } = await createCopy(harness, "one");
      const source = { ...spec.source, path: `${spec.source.path}-none` };
      await expect(devices.startCopies([{ ...spec, source }], { deadlineMs: 1_000 })).rejects.toMatchObject({
        code: "image_missing",
      });
    });

    test("listeners hear of devices until they stop listening", async () => {
      const events: BlockDeviceEvent[] = [];
      const heard = (kind: string, volumeId: string) => () =>
        events.some((event) => event.kind === kind && event.volumeId === volumeId);
      const unsubscribe = devices.onEvent((event) => void events.push(event));
      await harness.waitUntilListening(devices);
      const { deviceId, sizeBytes } = await devices.attach(await harness.createVolume("one"));
      await waitUntil(async () => heard("attached", "one")());
      expect(events).toEqual([{ kind: "attached", volumeId: "one", deviceId, sizeBytes }]);
      unsubscribe();
      await devices.attach(await harness.createVolume("two"));
      await devices.detach("two");
      expect(events).toHaveLength(1);
    });

    test.each(["../etc", "A", "", "a".repeat(129)])("the volume id %j never meets a path", async (volumeId) => {
      const spec = await harness.createVolume("one");
      await expect(devices.attach({ ...spec, volumeId })).rejects.toMatchObject({ name: "BlockDeviceError" });
      await expect(devices.detach(volumeId)).rejects.toMatchObject({ name: "BlockDeviceError" });
      await expect(devices.find(volumeId)).rejects.toMatchObject({ name: "BlockDeviceError" });
      await expect(devices.resize(volumeId, 512n)).rejects.toMatchObject({ name: "BlockDeviceError" });
      await expect(devices.setLimits(volumeId, {})).rejects.toMatchObject({ name: "BlockDeviceError" });
      await expect(devices.freeze([volumeId], { deadlineMs: 1 })).rejects.toMatchObject({ name: "BlockDeviceError" });
      await expect(devices.stats(volumeId)).rejects.toMatchObject({ name: "BlockDeviceError" });
    });
  });
}

/** A copy of a volume's image, which has other bytes in every block than in the next. */
async function createCopy(harness: BlockDevicesHarness, volumeId: string) {
  const { image: source, sizeBytes } = await harness.createVolume(volumeId);
  const bytes = Buffer.alloc(Number(sizeBytes));
  for (let offset = 0; offset < bytes.length / 2; offset += 512) bytes.writeUInt32LE(offset + 1, offset);
  await writeFile(source.path, bytes);
  const targetPath = `${source.path}-copy`;
  await writeFile(targetPath, "");
  await truncate(targetPath, Number(sizeBytes));
  return { bytes, spec: { copyId: `copy-of-${volumeId}`, volumeId, source, sizeBytes, targetPath } };
}

async function waitUntil(condition: () => Promise<boolean>): Promise<void> {
  if (await waitFor(condition, { timeoutMs: 10_000 })) return;
  throw new Error("the condition did not come true within 10 s");
}
