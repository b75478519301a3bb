import { mkdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { VolumeCapability_AccessMode_Mode as AccessMode } from "../../../src/gen/csi/csi.js";
import { findMount } from "./support/mounts.js";
import { runCommand, tryCommand } from "./support/run-command.js";
import { TestBed } from "./support/test-bed.js";
import type { TestVolume } from "./support/test-volume.js";

let bed: TestBed;

beforeAll(async () => {
  bed = await TestBed.start("mount-group");
});
afterAll(async () => await bed.dispose());

function volumeOf(name: string, mountGroup: string): TestVolume {
  const sizeBytes = 32 * 1024 ** 2;
  return bed.volume({ name, sizeBytes, access: { kind: "mount", fsType: "ext4" }, mountGroup });
}

/** As a process of a pod has it: some user, this group and no other. */
const runAs = (gid: string, ...command: string[]) =>
  tryCommand("setpriv", ["--reuid", "4242", "--regid", gid, "--clear-groups", ...command]);

/** The directories above a volume are kubelet's alone; a pod sees it somewhere else. */
async function enter(volume: TestVolume, name: string): Promise<string> {
  const path = join("/run", name);
  await mkdir(path, { recursive: true });
  await runCommand("mount", ["--bind", volume.targetPath, path]);
  return path;
}

test("a process of the group can use a new volume, and files that root made before", async () => {
  const volume = volumeOf("group-new", "2000");
  await volume.create();
  await volume.stage();
  await mkdir(join(volume.stagingPath, "folder"), { mode: 0o700 });
  await writeFile(join(volume.stagingPath, "folder", "old"), "", { mode: 0o600 });
  await volume.publish();
  const path = await enter(volume, "group-new");
  expect((await runAs("2000", "sh", "-c", `echo x > ${path}/new && echo x > ${path}/folder/old`)).exitCode).toBe(0);
  expect((await runAs("2001", "sh", "-c", `echo x > ${path}/foreign`)).exitCode).not.toBe(0);
  expect((await stat(join(path, "new"))).gid).toBe(2000);
  const made = await stat(join(path, "folder"));
  expect([made.gid, made.mode & 0o7777]).toEqual([2000, 0o2770]);
  await runCommand("umount", [path]);
  await volume.finish();
});

test("published again with another group, the volume is that group's", async () => {
  const volume = volumeOf("group-change", "2000");
  await volume.start();
  await writeFile(join(volume.targetPath, "file"), "x", { mode: 0o600 });
  await volume.unpublish();
  volume.wish.mountGroup = "3000";
  await volume.publish();
  expect((await stat(join(volume.targetPath, "file"))).gid).toBe(3000);
  await volume.finish();
});

test("read-only nothing is changed", async () => {
  const volume = volumeOf("group-read-only", "2000");
  await volume.create();
  await volume.stage();
  await volume.publish({ readOnly: true });
  expect((await stat(volume.targetPath)).gid).toBe(0);
  await volume.finish();
});

test("what is not the number of a group is refused", async () => {
  const volume = volumeOf("group-bad", "");
  await volume.create();
  await volume.stage();
  for (const mountGroup of ["staff", "-1", "4294967295", "1 2"]) {
    volume.wish.mountGroup = mountGroup;
    await expect(volume.publish()).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
  }
  volume.wish.mountGroup = "";
  await volume.finish();
});

test("a volume of a single writer is published nowhere else, in whatever mode, by the next driver neither", async () => {
  const volume = volumeOf("single-writer", "");
  await volume.create();
  await volume.stage();
  const modes = [AccessMode.SINGLE_NODE_SINGLE_WRITER, AccessMode.SINGLE_NODE_WRITER];
  const targetPath = `${volume.targetPath}-2`;
  volume.wish.accessMode = AccessMode.SINGLE_NODE_SINGLE_WRITER;
  await volume.publish();
  for (const ends of [() => bed.driver.kill(), () => bed.driver.terminate()]) {
    for (const mode of modes) {
      volume.wish.accessMode = mode;
      await expect(volume.publish({ targetPath })).rejects.toMatchObject({ code: status.FAILED_PRECONDITION });
      expect(findMount(targetPath)).toBeUndefined();
    }
    await ends();
    await bed.restart();
  }
  await volume.unpublish();
  await volume.publish();
  await volume.finish();
});

test("mount options that contradict the access, or what is staged, are refused, and nothing is mounted by it", async () => {
  const access = { kind: "mount" as const, fsType: "ext4", mountFlags: ["rw"] };
  const volume = bed.volume({ name: "options", sizeBytes: 32 * 1024 ** 2, access });
  await volume.create();
  volume.wish.accessMode = AccessMode.SINGLE_NODE_READER_ONLY;
  await expect(volume.stage()).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
  expect(findMount(volume.stagingPath)).toBeUndefined();
  volume.wish.accessMode = AccessMode.SINGLE_NODE_WRITER;
  access.mountFlags = ["noexec", "nodev", "noatime", "commit=30"];
  for (let round = 0; round < 2; round++) await volume.stage();
  access.mountFlags = ["nodev"];
  const details = expect.stringContaining("other mount options than asked for (noexec)");
  await expect(volume.stage()).rejects.toMatchObject({ code: status.ALREADY_EXISTS, details });
  expect(findMount(volume.stagingPath)).toBeDefined();
  await volume.finish();
});
