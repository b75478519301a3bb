import { mkdir, readdir, rmdir } from "node:fs/promises";
import { dirname } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { BlockDeviceError } from "../engine/block-devices.js";
import type { EphemeralRules } from "../pools/parameters/ephemeral-rules.js";
import type { MountCapability, PodClaim } from "../pools/volume/volume.js";
import { blockCapability, mebibyte, mountCapability, rejectionOf, Workspace } from "../testing/workspace.js";
import { type EphemeralRequest, EphemeralVolumes } from "./ephemeral-volumes.js";

const rules: EphemeralRules = {
  sizeBytesDefault: 2n * mebibyte,
  sizeBytesMax: 64n * mebibyte,
  poolNames: ["disk", "memory"],
  volumeCountMax: 3,
};
const volumeId = `csi-${"a".repeat(64)}`;

let workspace: Workspace;
let ephemeral: EphemeralVolumes;
let claim: PodClaim;

beforeEach(async () => {
  workspace = await Workspace.create();
  ephemeral = new EphemeralVolumes(workspace, rules);
  const targetPath = `${await workspace.makeDirectory("targets", "pod-1", "volume")}/mount`;
  claim = { podUid: "uid-1", podName: "web", podNamespace: "shop", targetPath, attributes: {} };
});

afterEach(() => workspace.remove());

const publish = (change: Partial<EphemeralRequest> = {}) =>
  ephemeral.publish({ volumeId, capability: mountCapability, claim, readOnly: false, ...change });

const withAttributes = (attributes: Record<string, string>) => publish({ claim: { ...claim, attributes } });

/** Directories, devices and mounts of inline volumes; the ledger has them booked as well. */
async function findTraces(): Promise<string[]> {
  const booked = ["disk", "memory"].flatMap((name) => workspace.pools.find(name)?.ledger.entries() ?? []);
  const images = await readdir(workspace.path("disk", "volumes"));
  const devices = (await workspace.blockDevices.list()).map(({ path }) => path);
  const targets = await readdir(dirname(claim.targetPath));
  return [...booked.map(([id]) => id), ...images, ...devices, ...targets, ...workspace.mounter.entries.map(String)];
}

describe("publishing an inline volume", () => {
  test("makes, formats and mounts it, and unpublishing leaves nothing", async () => {
    await publish();
    expect(workspace.mounter.entries).toMatchObject([{ mountPoint: claim.targetPath, fsType: "ext4" }]);
    expect(workspace.filesystems.formats).toHaveLength(1);
    expect(workspace.pools.listEphemeral()).toMatchObject([{ id: volumeId, sizeBytes: 2n * mebibyte, pool: "disk" }]);
    await ephemeral.unpublish(volumeId, claim.targetPath);
    expect(await findTraces()).toEqual([]);
    expect(ephemeral.has(volumeId)).toBe(false);
  });

  test("repeated it is a success and makes nothing new", async () => {
    await publish();
    await publish();
    expect(workspace.mounter.entries).toHaveLength(1);
    expect(workspace.filesystems.formats).toHaveLength(1);
  });

  test("is no volume of the controller: not listed, not found by name, not deleted", async () => {
    await publish();
    expect(workspace.pools.listVolumes()).toEqual([]);
    expect(workspace.pools.findVolumeByName(volumeId)).toBeUndefined();
    expect(await rejectionOf(workspace.provisioner.delete(volumeId))).toMatchObject({
      code: "refused",
      message: expect.stringContaining("inline volume of pod shop/web"),
    });
  });

  test("has the limits of its pod within the administrator's, on its device", async () => {
    ephemeral = new EphemeralVolumes(workspace, { ...rules, limitsMax: { iops: 1000, writeIops: 500 } });
    await withAttributes({ iops: "200" });
    expect(workspace.blockDevices.limits.get(volumeId)).toEqual({ iops: 200, writeIops: 500 });
    await workspace.reopen();
    expect(workspace.pools.listEphemeral()[0]?.parameters.limits).toEqual({ iops: 200, writeIops: 500 });
  });

  test("takes a mount that is read-only at its word", async () => {
    await publish({ readOnly: true });
    expect(workspace.mounter.entries).toMatchObject([{ options: ["ro"] }]);
  });

  test.each([
    ["another pod", { podUid: "uid-2" }, "other pod (it belongs to shop/web)"],
    ["other attributes", { attributes: { size: "4Mi" } }, "other volume attributes"],
    ["another target", { targetPath: "/elsewhere/mount" }, "other target_path"],
  ])("with %s it is a conflict and the first volume stays", async (_what, change, reason) => {
    await publish();
    const error = await rejectionOf(publish({ claim: { ...claim, ...change } }));
    expect(error).toMatchObject({ code: "conflict", message: expect.stringContaining(reason) });
    expect(workspace.mounter.entries).toHaveLength(1);
  });

  test("with other access it is a conflict and the volume stays mounted", async () => {
    await publish();
    expect(await rejectionOf(publish({ readOnly: true }))).toMatchObject({ code: "conflict" });
    expect(workspace.mounter.entries).toHaveLength(1);
  });

  test("over the id of a persistent volume it is a conflict", async () => {
    const range = { requiredBytes: 2n * mebibyte };
    const wish = { name: "data", range, capabilities: [mountCapability], parameters: {} };
    const { id } = await workspace.provisioner.create(wish);
    expect(await rejectionOf(publish({ volumeId: id }))).toMatchObject({ code: "conflict" });
    expect(workspace.pools.getVolume(id).ephemeral).toBeUndefined();
  });

  test.each([
    ["block access", { capability: blockCapability }, "block access is for persistent volumes"],
    [
      "a mount flag beyond the few",
      { capability: { ...mountCapability, mountFlags: ["suid"] } as MountCapability },
      "suid",
    ],
    ["an id that could be a path", { volumeId: "UP.." }, "not one that kubelet gives"],
  ])("%s is refused before anything is made", async (_what, change, reason) => {
    expect(await rejectionOf(publish(change))).toMatchObject({
      code: "invalid",
      message: expect.stringContaining(reason),
    });
    expect(await findTraces()).toEqual([]);
  });

  test("more volumes than the node may have are refused, also when they come at once", async () => {
    const publications = ["b", "c", "d", "e"].map(async (letter) => {
      const targetPath = `${await workspace.makeDirectory("targets", `pod-${letter}`)}/mount`;
      await publish({ volumeId: `csi-${letter.repeat(64)}`, claim: { ...claim, targetPath } });
    });
    const outcomes = await Promise.allSettled(publications);
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(3);
    expect(outcomes.filter(({ status }) => status === "rejected")).toMatchObject([{ reason: { code: "no_space" } }]);
  });

  test("one that does not fit is refused and leaves nothing", async () => {
    const range = { requiredBytes: 62n * mebibyte };
    const wish = { name: "big", range, capabilities: [mountCapability], parameters: { pool: "memory" } };
    const { id } = await workspace.provisioner.create(wish);
    const error = await rejectionOf(withAttributes({ pool: "memory", size: "8Mi" }));
    expect(error).toMatchObject({ code: "no_space" });
    expect(await findTraces()).toEqual([id]);
  });
});

describe("a publication that fails leaves nothing", () => {
  test.each<[string, () => unknown]>([
    ["at the device", () => (workspace.blockDevices.failure = new BlockDeviceError("internal", "no device"))],
    ["at the format", () => workspace.filesystems.failures.set("format", new Error("mkfs failed"))],
    ["at the mount", () => (workspace.mounter.failure = new Error("mount failed"))],
  ])("%s", async (_where, breakIt) => {
    breakIt();
    expect(await rejectionOf(publish())).toMatchObject({ message: expect.stringMatching(/no device|failed/) });
    expect(await findTraces()).toEqual([]);
  });

  test("and leaves alone what somebody else has at the target", async () => {
    await mkdir(claim.targetPath);
    const entry = {
      deviceNumber: "259:9",
      root: "/",
      options: ["rw"],
      fsType: "ext4",
      source: "/dev/ublkb9",
      superOptions: [],
    };
    workspace.mounter.entries.push({ ...entry, mountPoint: claim.targetPath });
    expect(await rejectionOf(publish())).toMatchObject({ code: "refused" });
    expect(workspace.mounter.entries).toMatchObject([entry]);
    expect(workspace.pools.listEphemeral()).toEqual([]);
  });
});

describe("after a restart", () => {
  test("the volume of a pod that runs is kept, and goes with its pod", async () => {
    await publish();
    await workspace.reopen();
    ephemeral = new EphemeralVolumes(workspace, rules);
    await publish();
    expect(workspace.mounter.entries).toHaveLength(1);
    await ephemeral.unpublish(volumeId, claim.targetPath);
    expect(await findTraces()).toEqual([]);
  });

  test("a volume that a restart of the node has unmounted is mounted again, with its data", async () => {
    await publish();
    await workspace.mounter.unmount(claim.targetPath);
    await workspace.blockDevices.detach(volumeId);
    await publish();
    expect(workspace.mounter.entries).toMatchObject([{ mountPoint: claim.targetPath }]);
    expect(workspace.filesystems.formats).toHaveLength(1);
  });

  const groupGiven = () => {
    const volume = workspace.pools.getVolume(volumeId);
    return workspace.pools.poolOf(volume).mark(volumeId, "group-given");
  };

  test("a running pod keeps the owners that it gave its files when kubelet publishes once more", async () => {
    const capability = { ...mountCapability, mountGroupId: 2000 };
    await publish({ capability });
    workspace.filesystems.groups.set(claim.targetPath, 0);
    await publish({ capability });
    expect(workspace.filesystems.groups.get(claim.targetPath)).toBe(0);
  });

  /** The publication before was cut short when it had mounted. */
  async function failToGive(): Promise<void> {
    workspace.filesystems.failures.set("giveToGroup", new Error("chown failed"));
    await groupGiven().clear();
  }

  test.each<[string, () => void]>([
    ["at the device", () => (workspace.blockDevices.failure = new BlockDeviceError("internal", "no device"))],
    ["at the mount", () => (workspace.mounter.failure = new Error("mount failed"))],
    ["after it", () => failToGive()],
  ])("a publication that fails %s is taken back, and the data stays for the next one", async (_where, breakIt) => {
    const capability = { ...mountCapability, mountGroupId: 2000 };
    await publish({ capability });
    await workspace.mounter.unmount(claim.targetPath);
    await workspace.blockDevices.detach(volumeId);
    await rmdir(claim.targetPath);
    await workspace.reopen();
    ephemeral = new EphemeralVolumes(workspace, rules);
    await breakIt();
    expect(await rejectionOf(publish({ capability }))).toMatchObject({ message: /no device|failed/ });
    expect(workspace.mounter.entries).toEqual([]);
    expect(await workspace.blockDevices.list()).toEqual([]);
    expect(await readdir(dirname(claim.targetPath))).toEqual([]);
    workspace.filesystems.failures.clear();
    await publish({ capability });
    expect(workspace.mounter.entries).toMatchObject([{ mountPoint: claim.targetPath }]);
    expect(workspace.filesystems.formats).toHaveLength(1);
  });
});
