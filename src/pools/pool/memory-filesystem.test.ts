import { mkdtemp, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { CommandError } from "../../system/command.js";
import type { MountEntry } from "../../system/mountinfo.js";
import { mebibyte, rejectionOf } from "../../testing/workspace.js";
import { TmpfsFilesystems } from "./memory-filesystem.js";

let directory: string;
let path: string;
let commands: string[];

beforeEach(async () => {
  directory = await mkdtemp("/tmp/ublk-csi-test-");
  path = join(directory, "memory", "scratch");
  commands = [];
});

afterEach(() => rm(directory, { recursive: true }));

function createFilesystems(mounts: Array<Partial<MountEntry>>): TmpfsFilesystems {
  return new TmpfsFilesystems(
    async (program, args) => {
      commands.push([program, ...args].join(" "));
      return { stdout: "", stderr: "" };
    },
    async () => mounts as MountEntry[],
  );
}

const sizeBytes = 64n * mebibyte + mebibyte + 4n * mebibyte;

test("mounts a tmpfs, a little larger than the budget, for root only", async () => {
  await createFilesystems([]).ensure(path, 64n * mebibyte);
  expect(commands).toEqual([`mount -t tmpfs -o size=${sizeBytes},mode=0700,nosuid,nodev,noexec tmpfs ${path}`]);
  expect((await stat(path)).mode & 0o777).toBe(0o700);
});

test("keeps a mounted one with what it holds, and gives it the present size", async () => {
  await createFilesystems([{ mountPoint: path, fsType: "tmpfs", source: "tmpfs" }]).ensure(path, 64n * mebibyte);
  expect(commands).toEqual([`mount -t tmpfs -o size=${sizeBytes},remount,nosuid,nodev,noexec tmpfs ${path}`]);
});

test("refuses a directory with another mount", async () => {
  const mounts = [{ mountPoint: path, fsType: "ext4", source: "/dev/sda1" }];
  const error = await rejectionOf(createFilesystems(mounts).ensure(path, mebibyte));
  expect(error).toMatchObject({ code: "refused", message: /is a mount of \/dev\/sda1, not of a tmpfs/ });
  expect(commands).toEqual([]);
});

test("a mount that fails says what memory pools need", async () => {
  const failure = new CommandError("mount", "exit code 32", { exitCode: 32, stderr: "permission denied" });
  const filesystems = new TmpfsFilesystems(
    () => Promise.reject(failure),
    async () => [],
  );
  const error = await rejectionOf(filesystems.ensure(path, mebibyte));
  expect(error.message).toMatch(/permission denied: memory pools need root/);
});
