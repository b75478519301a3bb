import { mkdir, readFile, rename, rm, rmdir, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import {
  ControllerGetVolumeHealthRequest,
  ControllerListVolumeHealthRequest,
  ControllerService,
  NodeGetStorageHealthRequest,
  NodeGetVolumeHealthRequest,
  NodeService,
  type VolumeHealth_VolumeHealthEntry,
} from "../../../src/gen/csi/csi.js";
import { compareDevice, createRandomFile, writeToDevice } from "./support/device-io.js";
import { EngineDaemon } from "./support/engine-daemon.js";
import { FailingDisk, findExtents } from "./support/failing-disk.js";
import { runCommand, tryCommand } from "./support/run-command.js";
import { deleteDevice, stopDevice } from "./support/stranger.js";
import { TestBed } from "./support/test-bed.js";
import type { TestVolume, VolumeWish } from "./support/test-volume.js";
import { waitFor } from "./support/wait-for.js";

const mebibyte = 1024 ** 2;
const root = "/run/ublk-csi-faults";
const [place, backing, data] = [`${root}/pool`, `${root}/disk`, `${root}/data`];
const dataBytes = 4 * mebibyte;
const degraded = 1;
const inaccessible = 2;
const dataLoss = 3;

let loop: string;
let disk: FailingDisk;
let engine: EngineDaemon;
let bed: TestBed;

beforeAll(async () => {
  await mkdir(place, { recursive: true });
  await runCommand("truncate", ["-s", String(768 * mebibyte), backing]);
  loop = (await runCommand("losetup", ["--find", "--show", backing])).trim();
  disk = await FailingDisk.create(loop);
  await runCommand("mkfs.ext4", ["-q", "-m", "0", "-E", "nodiscard", disk.path]);
  await runCommand("mount", [disk.path, place]);
  const configPath = `${root}/config.yaml`;
  await writeFile(configPath, `pools: [{ name: failing, kind: file, directory: ${place} }]\n`);
  await createRandomFile(data, dataBytes);
  engine = await EngineDaemon.start({ directory: `${root}/engine` });
  bed = await TestBed.start("faults", { configPath, engineSocketPath: engine.socketPath });
});
afterEach(async () => {
  await disk.fail([]);
});
afterAll(async () => {
  await bed.dispose();
  await engine.terminate();
  await engine.keepLog("csi-health-faults");
  await runCommand("umount", [place]);
  await disk.remove();
  await runCommand("losetup", ["--detach", loop]);
  await rm(`${root}/engine`, { recursive: true });
  for (const file of [backing, data, `${root}/config.yaml`]) await unlink(file);
  for (const directory of [place, root]) await rmdir(directory);
});

type Health = Record<"node" | "controller", VolumeHealth_VolumeHealthEntry[] | undefined>;

/** What node and controller say of a volume. */
async function readHealth({ id: volumeId, stagingPath: stagingTargetPath, targetPath }: TestVolume): Promise<Health> {
  const { client } = bed.driver;
  const paths = { stagingTargetPath, volumePublishPath: targetPath };
  const ofNode = NodeGetVolumeHealthRequest.fromPartial({ volumeId, ...paths });
  const ofController = ControllerGetVolumeHealthRequest.fromPartial({ volumeId });
  const [node, controller] = await Promise.all([
    client.call(NodeService.nodeGetVolumeHealth, ofNode),
    client.call(ControllerService.controllerGetVolumeHealth, ofController),
  ]);
  return { node: node.volumeHealth?.healthStatuses, controller: controller.volumeHealth?.healthStatuses };
}

const well: Health = { node: [], controller: [] };

async function listAbnormal(): Promise<string[]> {
  const request = ControllerListVolumeHealthRequest.fromPartial({});
  const { entries } = await bed.driver.client.call(ControllerService.controllerListVolumeHealth, request);
  return entries.map(({ volumeId }) => volumeId).sort();
}

async function readStorageHealth() {
  const request = NodeGetStorageHealthRequest.fromPartial({});
  return (await bed.driver.client.call(NodeService.nodeGetStorageHealth, request)).backendHealth;
}

async function start(name: string, access: VolumeWish["access"] = { kind: "block" }): Promise<TestVolume> {
  const sizeBytes = (access.kind === "block" ? 16 : 320) * mebibyte;
  const volume = bed.volume({ name, sizeBytes, access, parameters: { pool: "failing" } });
  await volume.start();
  if (access.kind === "block") await writeToDevice(data, volume.targetPath, { direct: true });
  return volume;
}

const imageOf = ({ id }: TestVolume) => join(place, "volumes", id, "image");

/** Errors reach the driver on a stream of their own. */
async function waitUntilFailed(volume: TestVolume): Promise<void> {
  await waitFor("the failure is told", async () => (await readHealth(volume)).controller?.length === 1);
}

function copyBlock(from: string, to: string, flag: string) {
  const what = ["bs=64k", "count=1", "conv=notrunc,nocreat", "status=none"];
  return tryCommand("dd", [`if=${from}`, `of=${to}`, flag, ...what]);
}

const writeBlock = ({ targetPath }: TestVolume) => copyBlock(data, targetPath, "oflag=direct");
const readBlock = ({ targetPath }: TestVolume) => copyBlock(targetPath, "/dev/null", "iflag=direct");

/** What the documentation says to do. */
async function stageAnew(volume: TestVolume): Promise<void> {
  await volume.unpublish();
  await volume.unstage();
  await volume.stage();
  await volume.publish();
}

describe("a disk that fails where one image lies", () => {
  test("degrades that volume alone, over a restart of the driver, until it is staged anew", async () => {
    const [written, read] = [await start("written"), await start("read")];
    const [other, sick] = [await start("sound"), [written, read]];
    await disk.fail((await Promise.all(sick.map((volume) => findExtents(imageOf(volume))))).flat());
    expect((await writeBlock(written)).stderr).toContain("Input/output error");
    expect((await readBlock(read)).stderr).toContain("Input/output error");
    for (const volume of sick) await waitUntilFailed(volume);
    const told = await Promise.all(sick.map(readHealth));
    const failures = ["write", "read"].map((operation) => {
      const message = expect.stringMatching(`^a ${operation} failed with EIO at 20.*disk in the kernel log$`);
      return { status: degraded, reason: "ImageIoErrors", message };
    });
    expect(told).toEqual(failures.map((failed) => ({ node: [failed], controller: [failed] })));
    expect(await listAbnormal()).toEqual(sick.map(({ id }) => id).sort());
    expect(await readStorageHealth()).toEqual([]);
    expect(await readHealth(other)).toEqual(well);
    for (const use of [writeBlock, readBlock]) expect((await use(other)).stderr).toBe("");

    await bed.driver.kill();
    await bed.restart();
    for (const volume of sick) await waitUntilFailed(volume);
    await disk.fail([]);
    for (const volume of sick) await compareDevice(data, volume.targetPath);
    expect(await Promise.all(sick.map(readHealth))).toEqual(told); // for ten minutes
    for (const volume of sick) await stageAnew(volume);
    for (const volume of sick) await compareDevice(data, volume.targetPath);
    expect(await Promise.all(sick.map(readHealth))).toEqual([well, well]);
    expect(await listAbnormal()).toEqual([]);
    for (const volume of [...sick, other]) await volume.finish();
  });

  test("makes a volume whose file system gives up inaccessible on its node, until it is staged anew", async () => {
    const volume = await start("mounted", { kind: "mount", fsType: "xfs" });
    const path = join(volume.targetPath, "file");
    await writeFile(path, "durable", { flush: true });
    await disk.fail(await findExtents(imageOf(volume)));
    await writeFile(`${path}-2`, "lost");
    await tryCommand("sync", ["--file-system", path]);
    const isUnusable = async () =>
      (await readHealth(volume)).node?.some(({ reason }) => reason === "FilesystemUnusable");
    await waitFor("the file system has given up", isUnusable);
    await waitUntilFailed(volume);
    const failed = { status: degraded, reason: "ImageIoErrors" };
    const { node, controller } = await readHealth(volume);
    expect(node).toMatchObject([failed, { status: inaccessible, reason: "FilesystemUnusable" }]);
    expect(controller).toMatchObject([failed]);
    await disk.fail([]);
    await stageAnew(volume);
    expect(await readHealth(volume)).toEqual(well);
    expect(await readFile(path, "utf8")).toBe("durable");
    await volume.finish();
  });
});

test("a file system whose root directory is damaged is inaccessible on its node, with the error of whoever looks", async () => {
  const volume = await start("damaged", { kind: "mount", fsType: "ext4" });
  // What was written since the file system was mounted would be kept by its journal.
  await stageAnew(volume);
  const device = `/dev/ublkb${await volume.findDeviceId()}`;
  const block = (await runCommand("debugfs", ["-R", "blocks /", device])).trim();
  const blockBytes = /^Block size: *(\d+)$/m.exec(await runCommand("dumpe2fs", ["-h", device]))?.[1];
  const into = [`of=${device}`, `bs=${blockBytes}`, `seek=${block}`, "count=1", "oflag=direct", "conv=notrunc"];
  await runCommand("dd", [`if=${data}`, ...into, "status=none"]);
  await runCommand("blockdev", ["--flushbufs", device]);
  const message = expect.stringMatching(/cannot be used: find: .*: Bad message$/);
  const { node } = await readHealth(volume);
  expect(node).toContainEqual({ status: inaccessible, reason: "FilesystemUnusable", message });
  await volume.finish();
});

describe("an engine in a process of its own", () => {
  const unavailable = { status: inaccessible, reason: "EngineUnavailable", message: expect.stringContaining("engine") };

  /** Of two volumes, and of what they stand on. */
  async function expectUnavailable(volumes: readonly TestVolume[]): Promise<void> {
    const [listed, storage, ...healths] = await Promise.all([
      listAbnormal(),
      readStorageHealth(),
      ...volumes.map((volume) => readHealth(volume)),
    ]);
    expect(healths).toEqual(volumes.map(() => ({ node: [unavailable], controller: [unavailable] })));
    expect(listed).toEqual(volumes.map(({ id }) => id).sort());
    expect(storage).toMatchObject([{ status: 2, reason: "EngineUnavailable" }]);
  }

  test("makes its volumes inaccessible while it hangs or is gone, and they are well once it answers", async () => {
    const volumes = [await start("one"), await start("two")];
    process.kill(engine.pid, "SIGSTOP");
    await expectUnavailable(volumes).finally(() => process.kill(engine.pid, "SIGCONT"));
    for (const volume of volumes) expect(await readHealth(volume)).toEqual(well);
    await engine.kill();
    await expectUnavailable(volumes);
    engine = await engine.restart();
    for (const volume of volumes) expect(await readHealth(volume)).toEqual(well);
    expect(await readStorageHealth()).toEqual([]);
    for (const volume of volumes) await compareDevice(data, volume.targetPath);
    for (const volume of volumes) await volume.finish();
  });

  /** Its image is elsewhere while the next engine starts, which then does not take the device back. */
  async function loseServer(volume: TestVolume): Promise<Health> {
    const image = imageOf(volume);
    await engine.kill();
    await rename(image, `${image}.away`);
    engine = await engine.restart();
    const told = await readHealth(volume);
    await rename(`${image}.away`, image);
    return told;
  }

  test("that could not take a device back tells that it is quiesced, or dead, until it is staged again", async () => {
    const [volume, other] = [await start("waiting"), await start("served")];
    const deviceId = await volume.findDeviceId();
    const toHealth = (...statuses: object[]) => ({ node: statuses, controller: statuses });
    const toFinding = (reason: string) => ({ status: inaccessible, reason, message: expect.any(String) });
    const lost = { status: dataLoss, reason: "ImageLost", message: expect.stringContaining("is missing") };
    expect(await loseServer(volume)).toEqual(toHealth(lost, toFinding("DeviceQuiesced")));
    expect(await readHealth(volume)).toEqual(toHealth(toFinding("DeviceQuiesced")));
    expect(await readHealth(other)).toEqual(well);
    await volume.stage();
    expect(await readHealth(volume)).toEqual(well);
    await compareDevice(data, volume.targetPath);

    await loseServer(volume);
    await stopDevice(deviceId);
    expect(await readHealth(volume)).toEqual(toHealth(toFinding("DeviceDead")));
    expect(await listAbnormal()).toEqual([volume.id]);
    // A volume without a device is well for the controller; the node sees that a pod has been left with a dead one.
    await deleteDevice(deviceId);
    expect(await readHealth(volume)).toEqual({ node: [toFinding("DeviceDead")], controller: [] });
    await stageAnew(volume);
    expect(await readHealth(volume)).toEqual(well);
    await compareDevice(data, volume.targetPath);
    for (const each of [volume, other]) await each.finish();
  });
});
