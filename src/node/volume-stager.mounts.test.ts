import { symlink } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { MountCapability, Volume } from "../pools/volume/volume.js";
import { mebibyte, mountCapability, rejectionOf, type Workspace } from "../testing/workspace.js";
import { foreignMount, StagerRig } from "./testing/stager-rig.js";

let rig: StagerRig;
let workspace: Workspace;

beforeEach(async () => {
  rig = await StagerRig.create();
  workspace = rig.workspace;
});

afterEach(() => workspace.remove());

describe.each<[string, Partial<Volume>]>([
  ["the copy of a file system", { contentSource: { kind: "volume", volumeId: "source" } }],
  ["an imported file system", { isImported: true }],
])("staging %s", (_case, origin) => {
  async function createCopy(): Promise<Volume> {
    const volume = await rig.createVolume();
    Object.assign(workspace.pools.getVolume(volume.id), origin);
    workspace.filesystems.contents.set(workspace.path("devices", "ublkb0"), "ext4");
    return volume;
  }

  const renewals = () => workspace.filesystems.calls.filter((call) => call === "renewIdentity ext4");

  async function restage(volume: Volume): Promise<void> {
    await rig.stager.unstage(volume.id, rig.stagingPath);
    workspace.filesystems.contents.set(workspace.path("devices", "ublkb0"), "ext4");
    await rig.stage(volume);
  }

  test("gives it a uuid of its own after its repair, and once only", async () => {
    const volume = await createCopy();
    await rig.stage(volume);
    expect(workspace.filesystems.calls.slice(0, 2)).toEqual(["repair ext4", "renewIdentity ext4"]);
    await restage(volume);
    expect(renewals()).toHaveLength(1);
  });

  test("does so again where that was cut short", async () => {
    const volume = await createCopy();
    workspace.filesystems.failures.set("renewIdentity", new Error("killed"));
    await rejectionOf(rig.stage(volume));
    expect(workspace.mounter.entries).toEqual([]);
    workspace.filesystems.failures.clear();
    await rig.stage(volume);
    expect(renewals()).toHaveLength(2);
  });

  test("that was blank leaves the file system made now alone, later too", async () => {
    const volume = await createCopy();
    workspace.filesystems.contents.clear();
    await rig.stage(volume);
    await restage(volume);
    expect(renewals()).toEqual([]);
  });
});

describe("staging with mount options", () => {
  const withFlags = (...mountFlags: string[]) => ({ ...mountCapability, mountFlags }) as MountCapability;
  const context = (level: string) => `context="system_u:object_r:container_file_t:${level}"`;

  test.each([
    ["noexec", ["noexec"], []],
    ["nosuid", [], ["nosuid"]],
    ["nodev", ["nodev"], ["nodev", "dev"]],
    ["noexec, nodev", ["noexec", "nodev"], ["noexec", "nodev", "exec", "dev"]],
    ["context", [context("s0:c1,c2")], [context("s0:c1,c3")]],
    ["context", [context("s0:c1,c2")], []],
    ["context", [], [context("s0:c1,c2")]],
  ])("other in %s than those that are mounted is a conflict", async (names, first, later) => {
    workspace.mounter.seLinux = true;
    const volume = await rig.createVolume();
    await rig.stage(volume, withFlags(...first));
    const error = await rejectionOf(rig.stage(volume, withFlags(...later)));
    const message = expect.stringContaining(`other mount options than asked for (${names}): unstage it first`);
    expect(error).toMatchObject({ code: "conflict", message });
    expect(workspace.mounter.entries).toHaveLength(1);
  });

  test.each([
    ["the same", ["noexec", context("s0:c1,c2")], ["noexec", context("s0:c1,c2")]],
    ["a label in other words", [context("s0:c2,c1,c3")], [context("s0:c1.c3")]],
    ["a range of one level", [context("s0:c1")], [context("s0:c1-s0:c1")]],
    ["the alias of a type", [context("s0")], [context("s0").replace("container_file_t", "svirt_sandbox_file_t")]],
    ["a level by a name", [context("s0")], [context("SystemLow")]],
    ["what the kernel reports in its own way", ["noatime", "commit=30"], ["relatime", "commit=31"]],
  ])("of the same meaning is a success: %s", async (_case, first, later) => {
    workspace.mounter.seLinux = true;
    const volume = await rig.createVolume();
    await rig.stage(volume, withFlags(...first));
    await rig.stage(volume, withFlags(...later));
    expect(workspace.mounter.entries).toHaveLength(1);
  });

  test("is a success with any label where SELinux is off", async () => {
    const volume = await rig.createVolume();
    await rig.stage(volume, withFlags(context("s0:c1,c2")));
    await rig.stage(volume, withFlags(context("s0:c3,c4")));
    expect(workspace.mounter.entries).toHaveLength(1);
  });

  test("that the kernel did not follow leaves neither mount nor device", async () => {
    const volume = await rig.createVolume();
    workspace.mounter.toKernelOptions = (options) => [...options, "ro"];
    expect(await rejectionOf(rig.stage(volume))).toMatchObject({
      code: "conflict",
      message: expect.stringContaining("is staged as ext4, read-only, asked for is ext4, writable"),
    });
    expect(workspace.mounter.entries).toEqual([]);
    expect(await workspace.blockDevices.list()).toEqual([]);
  });
});

test("unstaging takes a second view of the staging, as below a bind mount of kubelet's directory, for no publication", async () => {
  const volume = await rig.createVolume();
  await rig.stage(volume);
  await symlink(workspace.path("targets"), workspace.path("view"));
  const [staged] = workspace.mounter.entries;
  if (staged === undefined) throw new Error("the test expects a mount");
  const views = [workspace.path("view", "staging"), workspace.path("disk", "staging")];
  workspace.mounter.entries.push({ ...staged, mountPoint: views[1] ?? "" });
  expect((await rejectionOf(rig.unstage(volume))).message).toContain(`still published at ${views[1]}`);
  workspace.mounter.entries.pop();
  workspace.mounter.entries.push({ ...staged, mountPoint: views[0] ?? "" });
  workspace.blockDevices.isInUse = () => false;
  await rig.unstage(volume);
  expect(await workspace.blockDevices.list()).toEqual([]);
});

describe("staging where a mount is already", () => {
  /** As after the device of a staged volume was lost, and the volume got another. */
  async function loseDevice(volume: Volume): Promise<void> {
    workspace.blockDevices.isInUse = () => false;
    await workspace.blockDevices.detach(volume.id);
    workspace.mounter.lostDevices.add("259:0");
    await workspace.blockDevices.attach({ ...specOfOther, volumeId: "other" });
    workspace.filesystems.contents.set(workspace.path("devices", "ublkb1"), "ext4");
  }

  const specOfOther = {
    image: { kind: "file", path: "/other" },
    sizeBytes: mebibyte,
    readOnly: false,
    logicalBlockSizeBytes: 512,
    discard: false,
  } as const;

  test("of a device that is gone makes it anew", async () => {
    const volume = await rig.createVolume();
    await rig.stage(volume);
    await loseDevice(volume);
    await rig.stage(volume);
    expect(workspace.mounter.entries).toMatchObject([{ source: workspace.path("devices", "ublkb1") }]);
  });

  test("of a device that is gone makes it anew though somebody still uses it", async () => {
    const volume = await rig.createVolume();
    await rig.stage(volume);
    workspace.mounter.busyTargets.add(rig.stagingPath);
    await loseDevice(volume);
    await rig.stage(volume);
    expect(workspace.mounter.entries).toMatchObject([{ source: workspace.path("devices", "ublkb1") }]);
  });

  test.each([
    ["was shut down", "shutdown"],
    ["became read-only after an error", "ro"],
  ])("of a file system that %s makes it anew", async (_case, superOption) => {
    const volume = await rig.createVolume();
    await rig.stage(volume);
    workspace.mounter.entries[0]?.superOptions.splice(0, 1, superOption);
    await rig.stage(volume);
    expect(workspace.mounter.entries).toMatchObject([{ superOptions: ["rw"] }]);
  });

  test("of a file system that cannot be read is refused while a pod has it", async () => {
    const volume = await rig.createVolume();
    await rig.stage(volume);
    const target = await workspace.makeDirectory("targets", "pod");
    await workspace.mounter.bind({ source: rig.stagingPath, target, readOnly: false });
    workspace.mounter.accessFaults.set(rig.stagingPath, "EIO: i/o error, lstat");
    const error = await rejectionOf(rig.stage(volume));
    expect(error).toMatchObject({ code: "refused", message: /EIO.*\/pod shows it too: stop the pods that use it/ });
    expect(workspace.mounter.entries).toHaveLength(2);
  });

  test("of a file system that cannot be read is made anew though there is a second view of it", async () => {
    const volume = await rig.createVolume();
    await rig.stage(volume);
    await symlink(workspace.path("targets"), workspace.path("view"));
    const [staged] = await workspace.mounter.list();
    if (staged === undefined) throw new Error("the test expects a mount");
    workspace.mounter.entries.unshift({ ...staged, mountPoint: workspace.path("view", "staging") });
    staged.superOptions.push("shutdown");
    await rig.stage(volume);
    expect(workspace.mounter.entries.at(-1)).toMatchObject({ mountPoint: rig.stagingPath, superOptions: ["rw"] });
  });

  test("of a file system that does not answer is unavailable, and left as it is", async () => {
    const volume = await rig.createVolume();
    await rig.stage(volume);
    const before = await workspace.mounter.list();
    workspace.mounter.silentPaths.add(rig.stagingPath);
    const error = await rejectionOf(rig.stage(volume));
    expect(error).toMatchObject({ code: "unavailable", message: /staging has not answered/ });
    expect(workspace.mounter.entries).toEqual(before);
    workspace.mounter.silentPaths.clear();
    await rig.stage(volume);
    expect(workspace.mounter.entries).toEqual(before);
  });

  test("elsewhere, for a pod, mounts again without touching the file system", async () => {
    const volume = await rig.createVolume();
    await rig.stage(volume);
    const target = await workspace.makeDirectory("targets", "pod");
    await workspace.mounter.bind({ source: rig.stagingPath, target, readOnly: false });
    await workspace.mounter.unmount(rig.stagingPath);
    workspace.filesystems.calls.length = 0;
    await rig.stage(volume);
    expect(workspace.filesystems.calls).toEqual(["grow ext4"]);
    expect(workspace.mounter.entries).toHaveLength(2);
  });

  test("of btrfs, which forgets the name of a device that is gone, makes it anew", async () => {
    const volume = await rig.createVolume();
    workspace.mounter.entries.push({ ...foreignMount(rig.stagingPath), fsType: "btrfs", source: "<missing disk>" });
    await rig.stage(volume);
    expect(workspace.mounter.entries).toMatchObject([{ source: workspace.path("devices", "ublkb0") }]);
  });

  test("of btrfs, whose number is not its device's, is recognised by name", async () => {
    const btrfs = { ...mountCapability, fsType: "btrfs" } as MountCapability;
    const range = { requiredBytes: 128n * mebibyte };
    const request = { name: "data", range, capabilities: [btrfs], parameters: { provisioning: "thin" } };
    const volume = await workspace.provisioner.create(request);
    await rig.stage(volume, btrfs);
    await rig.stage(volume, btrfs);
    expect(workspace.mounter.entries).toHaveLength(1);
  });
});
