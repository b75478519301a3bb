import { mkdir, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { BlockDeviceError } from "../engine/block-devices.js";
import { DriverError } from "../errors.js";
import type { MountCapability } from "../pools/volume/volume.js";
import { blockCapability, mebibyte, mountCapability, rejectionOf, type Workspace } from "../testing/workspace.js";
import { foreignMount, StagerRig } from "./testing/stager-rig.js";

let rig: StagerRig;
let workspace: Workspace;

beforeEach(async () => {
  rig = await StagerRig.create();
  workspace = rig.workspace;
});

afterEach(() => workspace.remove());

const readerOnly = { ...mountCapability, accessMode: "SINGLE_NODE_READER_ONLY" } as MountCapability;

describe("staging a file system", () => {
  test("formats the blank device without discard when thick, and mounts it with the flags", async () => {
    await rig.stage(await rig.createVolume(), { ...mountCapability, mountFlags: ["noatime"] } as MountCapability);
    const path = workspace.path("devices", "ublkb0");
    expect(workspace.filesystems.formats).toEqual([{ devicePath: path, fsType: "ext4", discard: false, options: {} }]);
    expect(workspace.mounter.entries).toMatchObject([
      { mountPoint: rig.stagingPath, source: path, options: ["rw", "noatime"], fsType: "ext4" },
    ]);
  });

  test("asks for a device of the volume's image, size, blocks and discard", async () => {
    const parameters = {
      provisioning: "thin",
      logicalBlockSize: "4096",
      queues: "2",
      queueDepth: "64",
      pool: "memory",
    };
    const { id } = await rig.createVolume(mountCapability, parameters);
    await rig.stage(workspace.pools.getVolume(id));
    expect(workspace.blockDevices.specs.get(id)).toEqual({
      volumeId: id,
      image: { kind: "memory", path: workspace.path("memory", "memory", "volumes", id, "image") },
      sizeBytes: 2n * mebibyte,
      readOnly: false,
      logicalBlockSizeBytes: 4096,
      discard: true,
      queueCount: 2,
      queueDepth: 64,
    });
    expect(workspace.filesystems.formats).toMatchObject([{ discard: true }]);
  });

  test("gives a device the limits of its volume, and takes back those it must not have any more", async () => {
    const volume = await rig.createVolume(mountCapability, { iops: "100" });
    await rig.stage(volume);
    expect(workspace.blockDevices.limits.get(volume.id)).toEqual({ iops: 100 });
    await workspace.pools.updateVolume({ ...volume, limits: { iops: "unlimited" } });
    await rig.stage(volume);
    expect(workspace.blockDevices.limits.get(volume.id)).toEqual({});
  });

  test("grows a device that an expansion did not reach, before it is compared with the volume", async () => {
    const volume = await rig.createVolume();
    await rig.stage(volume);
    await workspace.pools.growVolume(volume, 3n * mebibyte);
    await rig.stage(volume);
    expect(await workspace.blockDevices.find(volume.id)).toMatchObject({ sizeBytes: 3n * mebibyte });
  });

  test("starts over where a crash has cut mkfs short, and only there", async () => {
    const volume = await rig.createVolume();
    const path = workspace.path("devices", "ublkb0");
    workspace.filesystems.failures.set("format", new Error("killed"));
    await expect(rig.stage(volume)).rejects.toThrow("killed");
    workspace.filesystems.contents.set(path, "xfs");
    workspace.filesystems.failures.clear();
    await rig.stage(volume);
    expect(workspace.filesystems.contents.get(path)).toBe("ext4");
    expect(await workspace.pools.poolOf(volume).mark(volume.id, "formatting").isSet()).toBe(false);
  });

  test("does not format again a volume that has lost its file system", async () => {
    const volume = await rig.createVolume();
    await rig.stage(volume);
    await rig.unstage(volume);
    workspace.filesystems.contents.clear();
    const error = await rejectionOf(rig.stage(volume));
    expect(error).toMatchObject({ code: "refused", message: /has lost its file system .*remove .*\/formatted/ });
    expect(workspace.filesystems.formats).toHaveLength(1);
  });

  test("remembers a file system that it found, as in an image that was imported", async () => {
    const volume = await rig.createVolume();
    await rig.stage(volume);
    await rig.unstage(volume);
    await workspace.pools.poolOf(volume).mark(volume.id, "formatted").clear();
    await rig.stage(volume);
    await rig.unstage(volume);
    workspace.filesystems.contents.clear();
    expect(await rejectionOf(rig.stage(volume))).toMatchObject({
      code: "refused",
      message: /has lost its file system/,
    });
  });

  test("mounts a file system though the pool has no room for a mark", async () => {
    const volume = await rig.createVolume();
    await rig.stage(volume);
    await rig.unstage(volume);
    const formatted = workspace.pools.poolOf(volume).mark(volume.id, "formatted");
    await formatted.clear();
    await mkdir(`${formatted.path}.tmp`); // in the way of what is written first
    await rig.stage(volume);
    expect(workspace.mounter.entries).toHaveLength(1);
    expect(await formatted.isSet()).toBe(false);
  });

  test("again makes up for growth that was cut short", async () => {
    const volume = await rig.createVolume();
    workspace.filesystems.failures.set("grow", new Error("killed"));
    await rig.stage(volume);
    workspace.filesystems.failures.clear();
    await rig.stage(volume);
    expect(workspace.filesystems.calls).toEqual(["grow ext4", "grow ext4"]);
  });

  test("again changes nothing", async () => {
    const volume = await rig.createVolume();
    await rig.stage(volume);
    await rig.stage(volume);
    expect(workspace.filesystems.formats).toHaveLength(1);
    expect(workspace.mounter.entries).toHaveLength(1);
  });

  test("mounts what is there without formatting", async () => {
    const volume = await rig.createVolume();
    workspace.filesystems.contents.set(workspace.path("devices", "ublkb0"), "ext4");
    await rig.stage(volume);
    expect(workspace.filesystems.formats).toEqual([]);
  });

  test("takes the type that the volume was made for when the caller names none, and ext4 when nobody does", async () => {
    const { fsType: _, ...untyped } = mountCapability as MountCapability;
    await rig.stage(await rig.createVolume(untyped), untyped);
    expect(workspace.filesystems.formats).toMatchObject([{ fsType: "ext4" }]);
  });

  test.each(["xfs", "crypto_LUKS", "a dos partition table", "signatures of more than one kind"])(
    "never formats a device that holds %s, and lets go of it",
    async (content) => {
      const volume = await rig.createVolume();
      workspace.filesystems.contents.set(workspace.path("devices", "ublkb0"), content);
      const error = await rejectionOf(rig.stage(volume));
      expect(error).toMatchObject({ code: "refused", message: expect.stringContaining(`holds ${content}`) });
      expect(workspace.filesystems.formats).toEqual([]);
      expect(await workspace.blockDevices.list()).toEqual([]);
    },
  );

  test("for reading only mounts read-only from a writable device, which may replay its journal", async () => {
    const volume = await rig.createVolume();
    await rig.stage(volume, readerOnly);
    expect(workspace.mounter.entries).toMatchObject([{ options: ["ro"] }]);
    expect(workspace.blockDevices.specs.get(volume.id)?.readOnly).toBe(false);
  });

  test("again with other access is a conflict", async () => {
    const volume = await rig.createVolume();
    await rig.stage(volume);
    const error = await rejectionOf(rig.stage(volume, readerOnly));
    expect(error).toMatchObject({
      code: "conflict",
      message: /staged as ext4, writable, asked for is ext4, read-only/,
    });
  });

  test("where something else is mounted is refused, and leaves that mount", async () => {
    workspace.mounter.entries.push(foreignMount(rig.stagingPath));
    const error = await rejectionOf(rig.stage(await rig.createVolume()));
    expect(error).toMatchObject({ code: "refused", message: /has a mount of \/dev\/sda1 \(8:1\), not of .*ublkb0/ });
    expect(workspace.mounter.entries).toHaveLength(1);
  });

  test("over files is refused, because the mount would hide them", async () => {
    await writeFile(`${rig.stagingPath}/file`, "data");
    expect(await rejectionOf(rig.stage(await rig.createVolume()))).toMatchObject({
      code: "refused",
      message: /is not empty/,
    });
  });

  test("that fails to mount lets go of the device it made, and works when asked again", async () => {
    const volume = await rig.createVolume();
    workspace.mounter.failure = new Error("mount: exit code 32: wrong fs type");
    expect((await rejectionOf(rig.stage(volume))).message).toContain("wrong fs type");
    expect(await workspace.blockDevices.list()).toEqual([]);
    await rig.stage(volume);
  });

  test("that fails keeps a device which was there before", async () => {
    const volume = await rig.createVolume();
    await rig.stage(volume);
    workspace.mounter.entries.length = 0;
    workspace.mounter.failure = new Error("mount failed");
    await rejectionOf(rig.stage(volume));
    expect(await workspace.blockDevices.list()).toHaveLength(1);
  });

  test("hands mkfs the options of the StorageClass", async () => {
    await rig.stage(await rig.createVolume(mountCapability, { ext4ReservedPercent: "3" }));
    expect(workspace.filesystems.formats).toMatchObject([{ options: { ext4: { reservedBlocksPercent: 3 } } }]);
  });

  test("refuses a mount option that the file system does not have, and lets go of the device", async () => {
    const capability = { ...mountCapability, mountFlags: ["compress"] } as MountCapability;
    expect(await rejectionOf(rig.stage(await rig.createVolume(), capability))).toMatchObject({ code: "invalid" });
    expect(await workspace.blockDevices.list()).toEqual([]);
  });

  test("repairs a file system before it is mounted, and grows it after", async () => {
    const volume = await rig.createVolume();
    workspace.filesystems.contents.set(workspace.path("devices", "ublkb0"), "ext4");
    await rig.stage(volume);
    expect(workspace.filesystems.calls).toEqual(["repair ext4", "grow ext4"]);
  });

  test("does not mount a file system that cannot be repaired", async () => {
    const volume = await rig.createVolume();
    workspace.filesystems.contents.set(workspace.path("devices", "ublkb0"), "ext4");
    workspace.filesystems.failures.set("repair", new DriverError("refused", "has errors"));
    expect(await rejectionOf(rig.stage(volume))).toMatchObject({ code: "refused", message: "has errors" });
    expect(workspace.mounter.entries).toEqual([]);
    expect(await workspace.blockDevices.list()).toEqual([]);
  });

  test("is not stopped by a file system that does not grow", async () => {
    workspace.filesystems.failures.set("grow", new Error("no"));
    await rig.stage(await rig.createVolume());
    expect(workspace.mounter.entries).toHaveLength(1);
  });

  test("for reading only does not grow the file system", async () => {
    await rig.stage(await rig.createVolume(), readerOnly);
    expect(workspace.filesystems.calls).toEqual([]);
  });

  test("that cannot mount says what a check finds", async () => {
    const volume = await rig.createVolume();
    workspace.mounter.failure = new Error("wrong fs type");
    const error = await rejectionOf(rig.stage(volume));
    expect(error.message).toMatch(
      /cannot mount .*: wrong fs type\. A check that changes nothing says: nothing is wrong$/,
    );
  });

  test("of a volume made for block access is refused, because raw data looks blank", async () => {
    const error = await rejectionOf(rig.stage(await rig.createVolume(blockCapability)));
    expect(error).toMatchObject({ code: "refused", message: /made for block access, not for a file system/ });
    expect(workspace.blockDevices.calls).toEqual([]);
  });
});

describe("staging for block access", () => {
  test("makes the device and no mount", async () => {
    await rig.stage(await rig.createVolume(blockCapability), blockCapability);
    expect(await workspace.blockDevices.list()).toHaveLength(1);
    expect(workspace.mounter.entries).toEqual([]);
  });

  test("for reading only makes the device itself read-only; with other access later it is a mismatch", async () => {
    const volume = await rig.createVolume(blockCapability);
    await rig.stage(volume, { ...blockCapability, accessMode: "SINGLE_NODE_READER_ONLY" });
    expect(workspace.blockDevices.specs.get(volume.id)?.readOnly).toBe(true);
    expect(await rejectionOf(rig.stage(volume, blockCapability))).toMatchObject({ code: "spec_mismatch" });
  });
});

test("staging passes on what the engine says", async () => {
  const volume = await rig.createVolume();
  workspace.blockDevices.failure = new BlockDeviceError("image_missing", "the image is gone");
  expect(await rejectionOf(rig.stage(volume))).toMatchObject({ code: "image_missing", message: "the image is gone" });
});

describe("unstaging", () => {
  test("unmounts and removes the device, however often", async () => {
    const volume = await rig.createVolume();
    await rig.stage(volume);
    for (let round = 0; round < 2; round++) await rig.stager.unstage(volume.id, rig.stagingPath);
    expect(workspace.mounter.entries).toEqual([]);
    expect(await workspace.blockDevices.list()).toEqual([]);
  });

  test.each(["unknown-volume", "Not/Ours"])("an unknown volume (%s) is a success", async (id) => {
    await rig.stager.unstage(id, rig.stagingPath);
  });

  test("a volume that is still published is refused, and stays staged", async () => {
    const volume = await rig.createVolume();
    await rig.stage(volume);
    const target = await workspace.makeDirectory("targets", "pod");
    await workspace.mounter.bind({ source: rig.stagingPath, target, readOnly: false });
    const error = await rejectionOf(rig.stager.unstage(volume.id, rig.stagingPath));
    expect(error).toMatchObject({ code: "refused", message: expect.stringContaining(`still published at ${target}`) });
    expect(workspace.mounter.entries).toHaveLength(2);
  });

  test("a busy mount is refused with the reason, and keeps its device", async () => {
    const volume = await rig.createVolume();
    await rig.stage(volume);
    workspace.mounter.busyTargets.add(rig.stagingPath);
    const error = await rejectionOf(rig.stager.unstage(volume.id, rig.stagingPath));
    expect(error).toMatchObject({ code: "refused", message: /is it in use\?.*target is busy/ });
    expect(await workspace.blockDevices.list()).toHaveLength(1);
  });

  test("never unmounts what is not a ublk device's", async () => {
    workspace.mounter.entries.push(foreignMount(rig.stagingPath));
    expect(await rejectionOf(rig.stager.unstage("unknown-volume", rig.stagingPath))).toMatchObject({ code: "refused" });
    expect(workspace.mounter.entries).toHaveLength(1);
  });

  test("clears away a mount whose device is gone", async () => {
    const volume = await rig.createVolume();
    await rig.stage(volume);
    workspace.blockDevices.isInUse = () => false;
    await workspace.blockDevices.detach(volume.id);
    await rig.stager.unstage(volume.id, rig.stagingPath);
    expect(workspace.mounter.entries).toEqual([]);
  });
});
