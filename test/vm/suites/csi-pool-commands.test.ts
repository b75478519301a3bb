import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, readFile, rename, rm, rmdir, truncate, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "@jest/globals";
import { compareDevice, createRandomFile, readAllocatedBytes, writeToDevice } from "./support/device-io.js";
import { DriverProcess, type DriverSettings } from "./support/driver-process.js";
import { type MachineState, readMachineState, waitUntilNothingIsLeft } from "./support/machine-state.js";
import { findMount } from "./support/mounts.js";
import { poolArguments, runPool, tryPool } from "./support/pool-cli.js";
import { runCommand } from "./support/run-command.js";
import { TestVolume, type VolumeWish } from "./support/test-volume.js";
import { waitFor } from "./support/wait-for.js";

const mebibyte = 1024 ** 2;
const root = "/tmp/ublk-csi-pool-commands";
const disk = `${root}/disk`;
const [before, after] = [`${root}/before`, `${root}/after`];

/** A driver whose one pool is a disk of its own, and the same pool on another node: of another name, state and place. */
const node1: DriverSettings = { directory: `${root}/node-1`, pools: { moved: before } };
const node2: DriverSettings = { directory: `${root}/node-2`, pools: { moved: after }, nodeId: "node-2" };

let state: MachineState;
let driver: DriverProcess;
let settings = node1;

beforeAll(async () => {
  state = await readMachineState();
  for (const path of [before, after]) await mkdir(path, { recursive: true });
  await runCommand("truncate", ["-s", String(768 * mebibyte), disk]);
  await runCommand("mkfs.xfs", ["-q", disk]);
  await runCommand("mount", ["-o", "loop", disk, before]);
  driver = await DriverProcess.start(settings);
});
afterAll(async () => {
  await driver.terminate();
  await runCommand("umount", [after]);
  await waitUntilNothingIsLeft(state);
  await rm(root, { recursive: true });
});
beforeEach(async () => {
  if (driver.hasExited) driver = await DriverProcess.start(settings);
});

function volume(wish: Pick<VolumeWish, "name" | "access"> & { mebibytes: number }): TestVolume {
  const { name, access, mebibytes } = wish;
  const parameters = { provisioning: "thin" };
  const whole = { name, access, parameters, sizeBytes: mebibytes * mebibyte };
  return new TestVolume(whole, join(settings.directory, "kubelet"), () => driver.client);
}

test("a volume goes out and in again, raw and as qcow2, bit by bit the same", async () => {
  const source = volume({ name: "source", access: { kind: "block" }, mebibytes: 64 });
  await source.start();
  const data = await createRandomFile(`${root}/data`, 4 * mebibyte);
  for (const seekBlocks of [0, 31, 60]) await writeToDevice(data, source.targetPath, { seekBlocks });
  await runCommand("dd", [`if=${source.targetPath}`, `of=${root}/expected`, "bs=1M", "status=none"]);
  const busy = await tryPool(settings, "export", source.id, `${root}/busy.img`);
  expect(busy).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("is in use by process") });
  await source.unpublish();
  await source.unstage();
  await driver.terminate();

  for (const format of ["raw", "qcow2"]) {
    const file = `${root}/out.${format}`;
    await runPool(settings, "export", source.id, file, "--format", format);
    expect(await readAllocatedBytes(file)).toBeLessThan(16 * mebibyte);
    await runPool(settings, "import", file, "--name", `copy-${format}`, "--provisioning", "thin");
  }
  await runCommand("cmp", [`${root}/expected`, `${root}/out.raw`]);
  const again = await tryPool(settings, "import", `${root}/out.raw`, "--name", "copy-raw");
  expect(again).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('volume "copy-raw" exists') });
  expect((await tryPool(settings, "check")).stdout).toBe("0 problems, 0 notes, 0 repaired\n");

  driver = await DriverProcess.start(settings);
  for (const format of ["raw", "qcow2"]) {
    const copy = volume({ name: `copy-${format}`, access: { kind: "block" }, mebibytes: 64 });
    await copy.start(); // CreateVolume of this name gives the imported one
    await compareDevice(`${root}/expected`, copy.targetPath);
    await copy.finish();
  }
  await source.finish();
});

test("a file system that was made elsewhere is imported, larger, and mounted with its files", async () => {
  await driver.terminate();
  await runCommand("truncate", ["-s", String(32 * mebibyte), `${root}/fs.img`]);
  await mkdir(`${root}/files`);
  await writeFile(`${root}/files/greeting`, "hello");
  await runCommand("mkfs.ext4", ["-q", "-d", `${root}/files`, `${root}/fs.img`]);
  const wish = ["--name", "made-elsewhere", "--provisioning", "thin", "--size", "64Mi"];
  const { persistentVolume } = await runPool<{ persistentVolume: { spec: { csi: object } } }>(
    settings,
    ...["import", `${root}/fs.img`, ...wish],
  );
  expect(persistentVolume.spec.csi).toMatchObject({ driver: "csi.ublk.io", fsType: "ext4" });
  driver = await DriverProcess.start(settings);
  const imported = volume({ name: "made-elsewhere", access: { kind: "mount", fsType: "ext4" }, mebibytes: 64 });
  await imported.start();
  expect(await readFile(join(imported.targetPath, "greeting"), "utf8")).toBe("hello");
  expect(Number((await imported.readStats()).usage[0]?.total)).toBeGreaterThan(48 * mebibyte);
  await imported.finish();
});

test.each(["btrfs", "xfs"])(
  "one %s image that is imported twice gives two volumes that are mounted together",
  async (fsType) => {
    await driver.terminate();
    const image = `${root}/${fsType}.img`;
    await runCommand("truncate", ["-s", String(320 * mebibyte), image]);
    await runCommand(`mkfs.${fsType}`, ["-q", image]);
    const names = ["one", "two"].map((name) => `${fsType}-${name}`);
    for (const name of names) await runPool(settings, "import", image, "--name", name, "--provisioning", "thin");
    driver = await DriverProcess.start(settings);
    const volumes = names.map((name) => volume({ name, access: { kind: "mount", fsType }, mebibytes: 320 }));
    for (const each of volumes) await each.start();
    for (const each of volumes) await writeFile(join(each.targetPath, "name"), each.wish.name);
    for (const each of volumes) expect(await readFile(join(each.targetPath, "name"), "utf8")).toBe(each.wish.name);
    const paths = volumes.map(({ stagingPath }) => findMount(stagingPath)?.source ?? "");
    const uuids = [image, ...paths].map((path) => runCommand("blkid", ["-p", "-o", "value", "-s", "UUID", path]));
    expect(new Set(await Promise.all(uuids)).size).toBe(3);
    for (const each of volumes) await each.finish();
    await unlink(image);
  },
);

test("an import that is killed leaves an image marked as unfinished, which check shows and the driver removes", async () => {
  await driver.terminate();
  await createRandomFile(`${root}/large`, 192 * mebibyte);
  const child = spawn(process.execPath, poolArguments(settings, ["import", `${root}/large`, "--name", "cut-short"]));
  const exited = once(child, "exit");
  const isUnderWay = async () => {
    const [found] = await readdir(`${before}/volumes`);
    return found !== undefined && (await readdir(`${before}/volumes/${found}`)).includes("image") && found;
  };
  const id = await waitFor("the import makes its image", isUnderWay, { intervalMs: 0, timeoutMs: 60_000 });
  child.kill("SIGKILL");
  await exited;
  // The program that copies ends by itself, into a file that nobody counts as a volume.
  await waitFor("nobody writes to the image", async () => !(await isOpen(`${before}/volumes/${id}/image`)));
  expect(await readdir(`${before}/volumes/${id}`)).toEqual(["image", "unfinished"]);
  const { exitCode, stdout } = await tryPool(settings, "check");
  expect({ exitCode, stdout }).toMatchObject({ exitCode: 1, stdout: expect.stringContaining("image-unfinished") });
  expect(stdout).toContain("1 problems, 0 notes, 0 repaired\n");
  driver = await DriverProcess.start(settings);
  expect(await readdir(`${before}/volumes`)).toEqual([]);
  await unlink(`${root}/large`);
});

test("check finds what was damaged on purpose, repairs what holds no data, and removes by name alone", async () => {
  const [well, cut, bare] = ["well", "cut", "bare"].map((name) =>
    volume({ name, access: { kind: "block" }, mebibytes: 8 }),
  ) as [TestVolume, TestVolume, TestVolume];
  for (const each of [well, cut, bare]) await each.create();
  await well.stage();
  await driver.kill();
  await truncate(`${before}/volumes/${cut.id}/image`, 4096);
  await unlink(`${before}/volumes/${bare.id}/volume.json`);
  await writeFile(`${before}/volumes/${well.id}/volume.json.tmp`, "{");
  await mkdir(`${before}/snapshots/nothing`);
  await rename(`${settings.directory}/state/engine/devices/${well.id}.json`, `${root}/entry`);
  const entry = (await readFile(`${root}/entry`, "utf8")).replaceAll(well.id, "nobody");
  await writeFile(`${settings.directory}/state/engine/devices/nobody.json`, entry);

  const found = await tryPool(settings, "check");
  expect(found.exitCode).toBe(1);
  for (const text of [
    `problem: image-lost (moved ${cut.id})`,
    `problem: image-without-record (moved ${bare.id})`,
    "problem: temporary-file (moved)",
    "problem: empty-folder (moved nothing)",
    "problem: device-without-volume (nobody)",
    "5 problems, 0 notes, 0 repaired",
  ]) {
    expect(found.stdout).toContain(text);
  }
  await unlink(`${settings.directory}/state/engine/devices/nobody.json`);
  await rename(`${root}/entry`, `${settings.directory}/state/engine/devices/${well.id}.json`);
  const refused = await tryPool(settings, "check", "--repair", "--remove", well.id);
  expect(refused).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("nothing is wrong with it") });
  const repaired = await tryPool(settings, "check", "--repair", "--remove", bare.id);
  expect(repaired.stdout).toContain("1 problems, 0 notes, 3 repaired");
  const removed = await tryPool(settings, "check", "--remove", cut.id);
  expect(removed).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("0 problems, 0 notes, 1 repaired") });
  expect(await readdir(`${before}/volumes`)).toEqual([well.id]);

  driver = await DriverProcess.start(settings);
  await well.finish();
});

test("a pool that moved is refused on the other node until it is adopted, and has its data then", async () => {
  const mounted = volume({ name: "traveller", access: { kind: "mount", fsType: "xfs" }, mebibytes: 320 });
  await mounted.start();
  await writeFile(join(mounted.targetPath, "note"), "from node-1");
  const listed = await tryPool(settings, "list");
  expect(listed.stdout).toMatch(/moved +[0-9a-f-]{36} +file +\S+before +xfs +1 +0 /);
  await mounted.unpublish();
  await mounted.unstage();
  await driver.terminate();
  await runCommand("umount", [before]);
  await runCommand("mount", ["-o", "loop", disk, after]);

  settings = node2;
  const { exitCode, complaint } = await DriverProcess.runToExit(settings);
  expect(exitCode).toBe(1);
  expect(complaint).toContain("is the pool of node node-1, and this is node node-2: when the node was renamed");
  expect(complaint).toContain('"ublk-csi pool adopt"');
  const adoption = await tryPool(settings, "adopt", "moved");
  expect(adoption.stderr).toBe("");
  expect(adoption.stdout).toContain("is node node-2's (before: node-1): 1 volumes, 0 snapshots");
  expect(adoption.stdout).toContain(`volumeHandle: ${mounted.id}`);
  driver = await DriverProcess.start(settings);
  const beside = await tryPool(settings, "adopt", "moved");
  expect(beside).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("is in use by process") });
  const again = volume({ name: "traveller", access: { kind: "mount", fsType: "xfs" }, mebibytes: 320 });
  await again.start();
  expect(again.id).toBe(mounted.id);
  expect(await readFile(join(again.targetPath, "note"), "utf8")).toBe("from node-1");
  await again.finish();
  await rmdir(before);
});

/** Whether a process has this file open. */
async function isOpen(path: string): Promise<boolean> {
  return (
    (await runCommand("sh", ["-c", `ls -l /proc/[0-9]*/fd 2>/dev/null | grep -cF "${path}" || true`])).trim() !== "0"
  );
}
