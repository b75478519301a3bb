import { open, rename, rm, statfs, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import {
  ControllerGetVolumeHealthRequest,
  ControllerListVolumeHealthRequest,
  ControllerService,
  NodeGetStorageHealthRequest,
  NodeGetVolumeHealthRequest,
  NodeService,
} from "../../../src/gen/csi/csi.js";
import { findMount } from "./support/mounts.js";
import { runCommand, tryCommand } from "./support/run-command.js";
import { TestBed } from "./support/test-bed.js";
import type { TestVolume } from "./support/test-volume.js";

const mebibyte = 1024 ** 2;
const block = { kind: "block" } as const;
const degraded = 1;
const inaccessible = 2;
const dataLoss = 3;

let bed: TestBed;

beforeAll(async () => {
  bed = await TestBed.start("health");
});
afterAll(async () => await bed.dispose());

/** What node and controller say of a volume. */
async function readHealth({ id: volumeId, stagingPath }: TestVolume) {
  const { client } = bed.driver;
  const ofNode = NodeGetVolumeHealthRequest.fromPartial({ volumeId, stagingTargetPath: stagingPath });
  const ofController = ControllerGetVolumeHealthRequest.fromPartial({ volumeId });
  const node = await client.call(NodeService.nodeGetVolumeHealth, ofNode);
  const controller = await client.call(ControllerService.controllerGetVolumeHealth, ofController);
  return { node: node.volumeHealth?.healthStatuses, controller: controller.volumeHealth?.healthStatuses };
}

async function listAbnormal(): Promise<string[]> {
  const request = ControllerListVolumeHealthRequest.fromPartial({});
  const { entries } = await bed.driver.client.call(ControllerService.controllerListVolumeHealth, request);
  return entries.map(({ volumeId }) => volumeId);
}

async function readStorageHealth() {
  const request = NodeGetStorageHealthRequest.fromPartial({});
  return (await bed.driver.client.call(NodeService.nodeGetStorageHealth, request)).backendHealth;
}

function mounted(name: string, fsType: string, sizeBytes: number): TestVolume {
  return bed.volume({ name, sizeBytes, access: { kind: "mount", fsType } });
}

/** The name of the device below a volume's file system. */
function deviceNameOf({ stagingPath }: TestVolume): string {
  const source = findMount(stagingPath)?.source;
  if (source === undefined) throw new Error(`nothing is mounted at ${stagingPath}`);
  return basename(source);
}

/** Overwrites the first of these words in a file. Not by the offsets of grep, which are wrong behind a hole. */
async function damage(path: string, words: string): Promise<void> {
  const file = await open(path, "r+");
  try {
    const piece = Buffer.alloc(mebibyte);
    for (let start = 0; (await file.read(piece, 0, mebibyte, start)).bytesRead > 0; start += mebibyte) {
      const offset = piece.indexOf(words);
      if (offset < 0) continue;
      await file.write("nonsense", start + offset);
      return;
    }
    throw new Error(`${path} has no "${words}"`);
  } finally {
    await file.close();
  }
}

test("volumes that are well have nothing wrong, staged or not, nor has what they stand on", async () => {
  const volume = mounted("well", "ext4", 64 * mebibyte);
  await volume.create();
  expect(await readHealth(volume)).toEqual({ node: [], controller: [] });
  await volume.start();
  expect(await readHealth(volume)).toEqual({ node: [], controller: [] });
  expect(await listAbnormal()).toEqual([]);
  expect(await readStorageHealth()).toEqual([]);
  await volume.finish();
});

describe("a file system", () => {
  test("in which ext4 has found an error degrades its volume on the node", async () => {
    const volume = mounted("errors", "ext4", 64 * mebibyte);
    await volume.start();
    await writeFile(`/sys/fs/ext4/${deviceNameOf(volume)}/trigger_fs_error`, "injected");
    const { node, controller } = await readHealth(volume);
    expect(node).toMatchObject([{ status: degraded, reason: "FilesystemErrors" }]);
    expect(controller).toEqual([]);
    await volume.finish();
  });

  test("in which btrfs has counted errors degrades its volume on the node", async () => {
    const volume = mounted("counted", "btrfs", 256 * mebibyte);
    await volume.start();
    const words = "bytes that are to be damaged ";
    await writeFile(`${volume.targetPath}/file`, words.repeat(4096));
    await volume.unpublish();
    await volume.unstage();
    await damage(bed.imagePath(volume), words);
    await volume.stage();
    await volume.publish();
    expect((await tryCommand("cat", [`${volume.targetPath}/file`])).stderr).toContain("Input/output error");
    const { node, controller } = await readHealth(volume);
    const message = expect.stringMatching(/^btrfs has counted \d+ errors \(.*corruption \d+/);
    expect(node).toEqual([{ status: degraded, reason: "FilesystemErrors", message }]);
    expect(controller).toEqual([]);
    await volume.finish();
  });

  test("that has shut down makes its volume inaccessible from the node", async () => {
    const volume = mounted("shutdown", "xfs", 320 * mebibyte);
    await volume.start();
    await runCommand("xfs_io", ["-x", "-c", "shutdown", volume.stagingPath]);
    expect((await readHealth(volume)).node).toMatchObject([{ status: inaccessible, reason: "FilesystemUnusable" }]);
    await volume.finish();
  });
});

test("a full pool degrades the thin volume whose write failed, and is told by the node", async () => {
  const parameters = { provisioning: "thin" };
  const volume = bed.volume({ name: "thin", sizeBytes: 64 * mebibyte, access: block, parameters });
  await volume.start();
  const filler = `${bed.poolPath}/filler`;
  const { bavail, bsize } = await statfs(bed.poolPath);
  await runCommand("fallocate", ["--length", String(bavail * bsize - 8 * mebibyte), filler]);
  const target = [`of=${volume.targetPath}`, "bs=1M", "count=64", "oflag=direct", "status=none"];
  const { exitCode } = await tryCommand("dd", ["if=/dev/urandom", ...target]);
  expect(exitCode).not.toBe(0);
  const full = { status: degraded, reason: "PoolOutOfSpace", message: expect.stringContaining("ENOSPC") };
  expect(await readHealth(volume)).toEqual({ node: [full], controller: [full] });
  expect(await listAbnormal()).toEqual([volume.id]);
  expect(await readStorageHealth()).toMatchObject([{ status: 1, reason: "PoolOutOfSpace" }]);
  await rm(filler);
  await volume.finish();
});

test("a volume whose image is gone has lost its data, until the image is back", async () => {
  const volume = bed.volume({ name: "lost", sizeBytes: 16 * mebibyte, access: block });
  await volume.create();
  const image = bed.imagePath(volume);
  await rename(image, `${image}.away`);
  const lost = { status: dataLoss, reason: "ImageLost", message: expect.stringContaining(image) };
  expect(await readHealth(volume)).toEqual({ node: [lost], controller: [lost] });
  expect(await listAbnormal()).toEqual([volume.id]);
  await rename(`${image}.away`, image);
  expect(await readHealth(volume)).toEqual({ node: [], controller: [] });
});

test("a volume that was adopted after a crash of its engine is well", async () => {
  const volume = bed.volume({ name: "alive", sizeBytes: 16 * mebibyte, access: block });
  await volume.start();
  await bed.driver.kill();
  await bed.restart();
  expect(await readHealth(volume)).toEqual({ node: [], controller: [] });
  await volume.finish();
});
