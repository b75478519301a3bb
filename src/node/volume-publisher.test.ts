import { lstat, mkdir, readdir, symlink, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { AccessMode, Volume, VolumeCapability } from "../pools/volume/volume.js";
import { blockCapability, mebibyte, mountCapability, rejectionOf, Workspace } from "../testing/workspace.js";
import { VolumePublisher } from "./volume-publisher.js";
import { VolumeStager } from "./volume-stager.js";

let workspace: Workspace;
let publisher: VolumePublisher;
let stagingPath: string;
let targetPath: string;

beforeEach(async () => {
  workspace = await Workspace.create();
  publisher = new VolumePublisher(workspace);
  stagingPath = await workspace.makeDirectory("targets", "staging");
  targetPath = workspace.path("targets", "pod");
});

afterEach(() => workspace.remove());

async function createStaged(capability: VolumeCapability, name = "data"): Promise<Volume> {
  const range = { requiredBytes: 2n * mebibyte };
  const volume = await workspace.provisioner.create({ name, range, capabilities: [capability], parameters: {} });
  await new VolumeStager(workspace).stage({ volumeId: volume.id, stagingPath, secrets: {}, capability });
  return volume;
}

interface PublishOptions {
  target?: string;
  readOnly?: boolean;
  accessMode?: AccessMode;
}

function publish({ id }: Volume, capability: VolumeCapability, options: PublishOptions = {}): Promise<void> {
  const { target = targetPath, readOnly = false, accessMode = capability.accessMode } = options;
  const asked = { ...capability, accessMode };
  return publisher.publish({ volumeId: id, stagingPath, targetPath: target, capability: asked, readOnly });
}

const exists = (path: string) =>
  lstat(path).then(
    () => true,
    () => false,
  );

describe("a mount group", () => {
  const withGroup = (mountGroupId: number) => ({ ...mountCapability, mountGroupId }) as VolumeCapability;

  test("is given the file system, and not what is published read-only", async () => {
    const volume = await createStaged(mountCapability);
    await publish(volume, withGroup(1000), { readOnly: true });
    expect(workspace.filesystems.groups.size).toBe(0);
    await publisher.unpublish(targetPath);
    await publish(volume, withGroup(1000));
    expect(workspace.filesystems.groups).toEqual(new Map([[stagingPath, 1000]]));
  });

  test("is the same for all pods that have the volume at a time", async () => {
    const volume = await createStaged(mountCapability);
    await publish(volume, withGroup(1000));
    await publish(volume, withGroup(1000), { target: `${targetPath}2` });
    const error = await rejectionOf(publish(volume, withGroup(2000), { target: `${targetPath}3` }));
    expect(error).toMatchObject({ code: "refused", message: expect.stringContaining("the same fsGroup") });
    expect(workspace.filesystems.groups.get(stagingPath)).toBe(1000);
  });
});

describe("publishing a file system", () => {
  test("takes a second view of its staging, as below a bind mount of kubelet's directory, for no other pod", async () => {
    const volume = await createStaged(mountCapability);
    await symlink(workspace.path("targets"), workspace.path("view"));
    const [staged] = workspace.mounter.entries;
    if (staged === undefined) throw new Error("the test expects a mount");
    workspace.mounter.entries.push({ ...staged, mountPoint: workspace.path("view", "staging") });
    const capability = { ...mountCapability, mountGroupId: 1000 } as VolumeCapability;
    await publish(volume, capability, { accessMode: "SINGLE_NODE_SINGLE_WRITER" });
    expect(workspace.filesystems.groups).toEqual(new Map([[stagingPath, 1000]]));
  });

  test("binds the staging mount to a new directory; again it changes nothing", async () => {
    const volume = await createStaged(mountCapability);
    await publish(volume, mountCapability);
    await publish(volume, mountCapability);
    expect(workspace.mounter.entries).toMatchObject([
      { mountPoint: stagingPath },
      { mountPoint: targetPath, deviceNumber: "259:0", options: ["rw"] },
    ]);
    expect((await lstat(targetPath)).isDirectory()).toBe(true);
  });

  test("read-only binds read-only beside a writable one", async () => {
    const volume = await createStaged(mountCapability);
    await publish(volume, mountCapability);
    await publish(volume, mountCapability, { target: `${targetPath}2`, readOnly: true });
    expect(workspace.mounter.entries.map((entry) => entry.options[0])).toEqual(["rw", "rw", "ro"]);
  });

  test("again with other access is a conflict", async () => {
    const volume = await createStaged(mountCapability);
    await publish(volume, mountCapability);
    const error = await rejectionOf(publish(volume, mountCapability, { readOnly: true }));
    expect(error).toMatchObject({ code: "conflict", message: /is published writable: unpublish it first/ });
  });

  test("refuses to bind a staging directory without a mount, as after a reboot", async () => {
    const volume = await createStaged(mountCapability);
    workspace.mounter.entries.length = 0;
    const error = await rejectionOf(publish(volume, mountCapability));
    expect(error).toMatchObject({ code: "refused", message: /staging has no mount, expected is .*ublkb0: stage/ });
    expect(await exists(targetPath)).toBe(false);
  });

  test("refuses to bind a staging directory with another device's mount", async () => {
    const volume = await createStaged(mountCapability);
    const [staged] = workspace.mounter.entries;
    if (staged !== undefined)
      workspace.mounter.entries.push({ ...staged, deviceNumber: "259:9", source: "/dev/ublkb9" });
    expect((await rejectionOf(publish(volume, mountCapability))).message).toContain("has a mount of /dev/ublkb9");
  });

  test("of a staging that does not answer is unavailable, and makes nothing", async () => {
    const volume = await createStaged(mountCapability);
    workspace.mounter.silentPaths.add(stagingPath);
    const error = await rejectionOf(publish(volume, mountCapability));
    expect(error).toMatchObject({ code: "unavailable", message: /staging has not answered/ });
    expect(await exists(targetPath)).toBe(false);
    workspace.mounter.silentPaths.clear();
    await publish(volume, mountCapability);
  });

  test("refuses a volume that is not staged, and one whose device waits for its server", async () => {
    const volume = await createStaged(mountCapability);
    workspace.blockDevices.setState(volume.id, "quiesced");
    expect((await rejectionOf(publish(volume, mountCapability))).message).toMatch(/ublkb0 .* is quiesced/);
    workspace.mounter.entries.length = 0;
    await workspace.blockDevices.detach(volume.id);
    expect((await rejectionOf(publish(volume, mountCapability))).message).toContain("is not staged: stage it first");
  });

  test("refuses a target in the way: files, a file, a missing parent, another mount", async () => {
    const volume = await createStaged(mountCapability);
    const full = await workspace.makeDirectory("targets", "full");
    await writeFile(`${full}/file`, "");
    await writeFile(workspace.path("targets", "file"), "");
    const messageFor = async (target: string) =>
      (await rejectionOf(publish(volume, mountCapability, { target }))).message;
    expect(await messageFor(full)).toContain("is not empty, a mount would hide what it holds");
    expect(await messageFor(workspace.path("targets", "file"))).toContain("is not a directory");
    expect(await messageFor(workspace.path("targets", "no", "where"))).toContain("parent directory");
    const [staged] = workspace.mounter.entries;
    if (staged !== undefined) workspace.mounter.entries.push({ ...staged, deviceNumber: "8:1", mountPoint: full });
    expect(await messageFor(full)).toContain("(8:1), not of");
  });

  test("that fails removes the target which it made, and only that", async () => {
    const volume = await createStaged(mountCapability);
    workspace.mounter.failure = new Error("mount: permission denied");
    await rejectionOf(publish(volume, mountCapability));
    expect(await exists(targetPath)).toBe(false);
    await mkdir(targetPath);
    workspace.mounter.failure = new Error("mount: permission denied");
    await rejectionOf(publish(volume, mountCapability));
    expect(await exists(targetPath)).toBe(true);
  });

  test("a volume the node does not have is missing", async () => {
    const unknown = { id: "unknown" } as Volume;
    expect(await rejectionOf(publish(unknown, mountCapability))).toMatchObject({ code: "missing" });
  });
});

describe.each([
  ["a file system", mountCapability],
  ["a block device", blockCapability],
])("publishing %s at a second place", (_what, capability) => {
  const sole: AccessMode = "SINGLE_NODE_SINGLE_WRITER";
  const second = () => `${targetPath}2`;

  async function expectRefused(volume: Volume, accessMode: AccessMode): Promise<void> {
    const error = await rejectionOf(publish(volume, capability, { accessMode, target: second() }));
    expect(error).toMatchObject({ code: "refused", message: expect.stringContaining(`is published at ${targetPath}`) });
    expect(await exists(second())).toBe(false);
  }

  test.each<[AccessMode, AccessMode]>([
    [sole, sole],
    [sole, "SINGLE_NODE_WRITER"],
    [sole, "SINGLE_NODE_MULTI_WRITER"],
    ["SINGLE_NODE_WRITER", sole],
    ["SINGLE_NODE_MULTI_WRITER", sole],
  ])("as %s and then as %s is refused, after a restart too", async (first, accessMode) => {
    const volume = await createStaged(capability);
    await publish(volume, capability, { accessMode: first });
    await publish(volume, capability, { accessMode: first });
    await expectRefused(volume, accessMode);
    await workspace.reopen();
    await expectRefused(volume, accessMode);
  });

  test("is refused in any mode when the volume was made for a single writer", async () => {
    const volume = await createStaged({ ...capability, accessMode: sole });
    await publish(volume, capability);
    await expectRefused(volume, "SINGLE_NODE_MULTI_WRITER");
  });

  test("is not refused after the single writer has gone, nor for writers of other modes", async () => {
    const volume = await createStaged(capability);
    await publish(volume, capability, { accessMode: sole });
    await publisher.unpublish(targetPath);
    await publish(volume, capability);
    await publish(volume, capability, { accessMode: "SINGLE_NODE_MULTI_WRITER", target: second() });
    expect(workspace.mounter.entries.filter(({ mountPoint }) => mountPoint.startsWith(targetPath))).toHaveLength(2);
    for (const target of [targetPath, second()]) await publisher.unpublish(target);
    await new VolumeStager(workspace).unstage(volume.id, stagingPath);
    await workspace.provisioner.delete(volume.id);
  });
});

describe("publishing a block device", () => {
  test("binds the device node to a new file, and lets it be written", async () => {
    const volume = await createStaged(blockCapability);
    await publish(volume, blockCapability);
    await publish(volume, blockCapability);
    expect((await lstat(targetPath)).isFile()).toBe(true);
    expect(workspace.mounter.entries).toMatchObject([{ mountPoint: targetPath, root: "/ublkb0" }]);
    expect([...workspace.mounter.readOnlyDevices]).toEqual([]);
  });

  test("read-only makes the device refuse writes; writable afterwards takes that back", async () => {
    const volume = await createStaged(blockCapability);
    await publish(volume, blockCapability, { readOnly: true });
    expect([...workspace.mounter.readOnlyDevices]).toEqual([workspace.path("devices", "ublkb0")]);
    await publisher.unpublish(targetPath);
    await publish(volume, blockCapability);
    expect([...workspace.mounter.readOnlyDevices]).toEqual([]);
  });

  test.each([true, false])("with both kinds of access at once is refused (read-only first: %s)", async (readOnly) => {
    const volume = await createStaged(blockCapability);
    await publish(volume, blockCapability, { readOnly });
    const error = await rejectionOf(
      publish(volume, blockCapability, { target: `${targetPath}2`, readOnly: !readOnly }),
    );
    expect(error).toMatchObject({ code: "refused", message: /a block device cannot be/ });
    expect(await exists(`${targetPath}2`)).toBe(false);
  });

  test("leaves a device that was made read-only alone", async () => {
    const readerOnly: VolumeCapability = { ...blockCapability, accessMode: "SINGLE_NODE_READER_ONLY" };
    const volume = await createStaged(readerOnly);
    await publish(volume, readerOnly);
    expect(workspace.mounter.entries).toMatchObject([{ options: ["ro"] }]);
    expect([...workspace.mounter.readOnlyDevices]).toEqual([]);
  });

  test("a target which shows another device is a conflict", async () => {
    const volume = await createStaged(blockCapability);
    await publish(volume, blockCapability);
    const [entry] = workspace.mounter.entries;
    if (entry !== undefined) workspace.mounter.entries.push({ ...entry, root: "/ublkb9" });
    expect(await rejectionOf(publish(volume, blockCapability))).toMatchObject({ code: "conflict" });
  });
});

describe("unpublishing", () => {
  test.each([mountCapability, blockCapability])(
    "takes mount and target away, however often: %j",
    async (capability) => {
      const volume = await createStaged(capability);
      await publish(volume, capability);
      for (let round = 0; round < 2; round++) await publisher.unpublish(targetPath);
      expect(workspace.mounter.entries.some((entry) => entry.mountPoint === targetPath)).toBe(false);
      expect(await exists(targetPath)).toBe(false);
    },
  );

  test("takes away mounts which lie over each other", async () => {
    const volume = await createStaged(mountCapability);
    await publish(volume, mountCapability);
    await workspace.mounter.bind({ source: stagingPath, target: targetPath, readOnly: false });
    await publisher.unpublish(targetPath);
    expect(workspace.mounter.entries).toHaveLength(1);
  });

  test("what was never published removes an empty target and leaves a full one, with everything in it", async () => {
    const full = await workspace.makeDirectory("targets", "full");
    await writeFile(`${full}/precious`, "data");
    const error = await rejectionOf(publisher.unpublish(full));
    expect(error).toMatchObject({ code: "refused", message: /is not empty and was left as it is/ });
    expect(await readdir(full)).toEqual(["precious"]);
    await publisher.unpublish(await workspace.makeDirectory("targets", "empty"));
    expect(await exists(workspace.path("targets", "empty"))).toBe(false);
  });

  test("a file with content is not removed", async () => {
    await writeFile(targetPath, "data");
    expect(await rejectionOf(publisher.unpublish(targetPath))).toMatchObject({ code: "refused" });
    expect(await exists(targetPath)).toBe(true);
  });

  test("a busy target is refused, and kept", async () => {
    const volume = await createStaged(mountCapability);
    await publish(volume, mountCapability);
    workspace.mounter.busyTargets.add(targetPath);
    expect(await rejectionOf(publisher.unpublish(targetPath))).toMatchObject({ code: "refused", message: /busy/ });
    expect(await exists(targetPath)).toBe(true);
  });

  test("never takes away a mount that is not of a ublk device", async () => {
    await mkdir(targetPath);
    const foreign = {
      deviceNumber: "0:40",
      root: "/",
      options: ["rw"],
      fsType: "nfs4",
      source: "server:/export",
      superOptions: ["rw"],
    };
    workspace.mounter.entries.push({ ...foreign, mountPoint: targetPath });
    const error = await rejectionOf(publisher.unpublish(targetPath));
    expect(error).toMatchObject({
      code: "refused",
      message: /mount of server:\/export which is not one of this driver's/,
    });
    expect(workspace.mounter.entries).toHaveLength(1);
  });
});
