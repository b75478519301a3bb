import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { BlockDevice, BlockDeviceSpec, BlockDevices } from "../block-devices.js";

/** A machine on which an implementation of {@link BlockDevices} runs, as its contract test sees it. */
export interface BlockDevicesHarness {
  devices: BlockDevices;
  /** Whether an engine in another process serves, which adopts when it starts and keeps idle devices when it ends. */
  isRemote: boolean;
  /** Makes an image and the spec of a volume over it. */
  createVolume(volumeId: string): Promise<BlockDeviceSpec>;
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

    test.each(["../etc", "A", "", "a".repeat(129)])("the volume id %j never meets a path", async (volumeId) => {
      const spec = await harness.createVolume("one");
      await expect(devices.attach({ ...spec, volumeId })).rejects.toMatchObject({ name: "BlockDeviceError" });
      await expect(devices.detach(volumeId)).rejects.toMatchObject({ name: "BlockDeviceError" });
      await expect(devices.find(volumeId)).rejects.toMatchObject({ name: "BlockDeviceError" });
    });
  });
}
