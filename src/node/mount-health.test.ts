import { mkdir, symlink, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { mebibyte, mountCapability, Workspace } from "../testing/workspace.js";
import { checkMounts } from "./mount-health.js";
import { VolumeStager } from "./volume-stager.js";

let workspace: Workspace;
let volumeId: string;

beforeEach(async () => {
  workspace = await Workspace.create();
  const range = { requiredBytes: 2n * mebibyte, limitBytes: undefined };
  const capabilities = [mountCapability];
  const volume = await workspace.provisioner.create({ name: "a", range, capabilities, parameters: {} });
  volumeId = volume.id;
});
afterEach(async () => await workspace.remove());

async function stage(): Promise<void> {
  const stagingPath = await workspace.makeDirectory("targets", "staging");
  await new VolumeStager(workspace).stage({ volumeId, stagingPath, capability: mountCapability, secrets: {} });
}

async function setErrorCount(count: number): Promise<void> {
  const number = workspace.mounter.entries[0]?.deviceNumber ?? "";
  await mkdir(workspace.path("sys/dev/block"), { recursive: true });
  await mkdir(workspace.path("sys/block/dm-7"), { recursive: true });
  await mkdir(workspace.path("sys/fs/ext4/dm-7"), { recursive: true });
  await symlink("../../block/dm-7", workspace.path("sys/dev/block", number));
  await writeFile(workspace.path("sys/fs/ext4/dm-7/errors_count"), `${count}\n`);
}

/** The counters of a btrfs by this name in sysfs. */
async function setBtrfsErrors(fsid: string, deviceName: string, stats: string): Promise<void> {
  await mkdir(workspace.path("sys/fs/btrfs/features"), { recursive: true });
  await mkdir(workspace.path("sys/fs/btrfs", fsid, "devices"), { recursive: true });
  await mkdir(workspace.path("sys/fs/btrfs", fsid, "devinfo/1"), { recursive: true });
  await writeFile(workspace.path("sys/fs/btrfs", fsid, "devices", deviceName), "");
  await writeFile(workspace.path("sys/fs/btrfs", fsid, "devinfo/1/error_stats"), stats);
}

const stagingPath = () => workspace.path("targets", "staging");
const check = (...paths: string[]) => checkMounts(volumeId, paths, workspace, workspace.path("sys"));

describe("the file system of a volume", () => {
  test("that is not staged has nothing wrong with it", async () => {
    expect(await check()).toEqual([]);
  });

  test("that is staged and clean has nothing wrong with it", async () => {
    await stage();
    expect(await check()).toEqual([]);
    await setErrorCount(0);
    expect(await check()).toEqual([]);
  });

  test("that the kernel has shut down is unusable", async () => {
    await stage();
    workspace.mounter.entries[0]?.superOptions.push("shutdown");
    const message = expect.stringContaining("the kernel has shut it down (shutdown)");
    expect(await check()).toEqual([{ status: "inaccessible", reason: "FilesystemUnusable", message }]);
  });

  test("that the kernel made read-only after an error is unusable", async () => {
    await stage();
    workspace.mounter.entries[0]?.superOptions.splice(0, 1, "ro");
    expect(await check()).toMatchObject([{ status: "inaccessible", reason: "FilesystemUnusable" }]);
  });

  test("that does not answer is unusable", async () => {
    await stage();
    workspace.mounter.silentPaths.add(stagingPath());
    const message = expect.stringMatching(/^the ext4 at .*staging cannot be used: .*staging has not answered for 5 s/);
    expect(await check()).toEqual([{ status: "inaccessible", reason: "FilesystemUnusable", message }]);
  });

  test("in which ext4 has counted errors is degraded", async () => {
    await stage();
    await setErrorCount(3);
    const message = expect.stringContaining("ext4 has counted 3 errors");
    expect(await check()).toEqual([{ status: "degraded", reason: "FilesystemErrors", message }]);
  });

  test("in which btrfs has counted errors is degraded, and errors of another one do not count", async () => {
    await stage();
    await setErrorCount(0);
    const [mount] = workspace.mounter.entries;
    Object.assign(mount ?? {}, { fsType: "btrfs" });
    const none = "write_errs 0\nread_errs 0\nflush_errs 0\ncorruption_errs 0\ngeneration_errs 0\n";
    await setBtrfsErrors("other", "sda", none.replace("write_errs 0", "write_errs 9"));
    await setBtrfsErrors("mine", "dm-7", none);
    expect(await check()).toEqual([]);
    await setBtrfsErrors(
      "mine",
      "dm-7",
      none.replace("read_errs 0", "read_errs 1").replace("tion_errs 0", "tion_errs 2"),
    );
    const message = expect.stringContaining("btrfs has counted 3 errors (read 1, corruption 2)");
    expect(await check()).toEqual([{ status: "degraded", reason: "FilesystemErrors", message }]);
  });
});

describe("the mounts of a volume at the paths that are named", () => {
  const stale = (source: string) => [
    { status: "inaccessible", reason: "DeviceDead", message: expect.stringContaining(`has a mount of ${source}`) },
  ];

  test("are well while they show its device, or nothing", async () => {
    await stage();
    await workspace.makeDirectory("targets", "empty");
    expect(await check(stagingPath(), workspace.path("targets", "empty"), workspace.path("nowhere"))).toEqual([]);
  });

  test("are of a device that it has no more, when it has none", async () => {
    await stage();
    const device = await workspace.blockDevices.find(volumeId);
    workspace.blockDevices.find = () => Promise.resolve(undefined);
    expect(await check(workspace.path("elsewhere"), stagingPath())).toEqual(stale(`${device?.path}, which`));
    expect(await check()).toEqual([]);
  });

  test("are of a device that it has no more, when it has another", async () => {
    await stage();
    const [mount] = workspace.mounter.entries;
    Object.assign(mount ?? {}, { deviceNumber: "259:77", source: "/dev/ublkb77" });
    expect(await check(stagingPath())).toEqual(stale("/dev/ublkb77"));
  });

  test("of a raw volume are told by the name of the node", async () => {
    await stage();
    const device = await workspace.blockDevices.find(volumeId);
    const target = workspace.path("targets", "raw");
    await writeFile(target, "");
    await workspace.mounter.bind({ source: device?.path ?? "", target, readOnly: false });
    expect(await check(target)).toEqual([]);
    Object.assign(workspace.mounter.entries.at(-1) ?? {}, { root: "/ublkb77" });
    expect(await check(target)).toEqual(stale("udev/ublkb77"));
  });
});
