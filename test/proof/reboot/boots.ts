import { deepEqual, equal, match, notEqual, ok, rejects } from "node:assert/strict";
import { access, readdir, readFile, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import {
  VolumeCapability_AccessMode_Mode as AccessMode,
  ControllerService,
  ListVolumesRequest,
  NodeService,
  NodeStageVolumeRequest,
  NodeUnpublishVolumeRequest,
  NodeUnstageVolumeRequest,
} from "../../../src/gen/csi/csi.js";
import { writeDurably } from "../../vm/suites/support/durable-file.js";
import { checkFileSystem } from "../../vm/suites/support/file-system.js";
import type { TestVolume, VolumeWish } from "../../vm/suites/support/test-volume.js";
import type { Node } from "./node.js";
import { growing, grownBytes, inMemory, readNote, wishes, writeNote } from "./volumes.js";

const inlineAttributes = { size: "32Mi" };
const snapshotName = "of-plain";
/** Pods of inline volumes: one comes back, one is forgotten, one has its files in memory. */
const pods = { returning: "1", forgotten: "2", inMemory: "3" };

/** Everything is in use, and the power fails. */
export async function beforePowerFailure(node: Node): Promise<void> {
  await node.startDriver();
  const volumes = [...wishes, inMemory].map((wish) => node.volume(wish));
  for (const volume of volumes) {
    await volume.start();
    await writeNote(volume, `first of ${volume.wish.name}`);
  }
  const plain = volumes[0] as TestVolume;
  await node.snapshots.createReady(snapshotName, plain.id);
  await writeNote(plain, "second of plain");
  await growWhileUnused(node.volume(growing));
  for (const pod of Object.values(pods)) {
    const inline = node.inline(pod, { ...inlineAttributes, ...(pod === pods.inMemory && { pool: "memory" }) });
    await inline.publish();
    await writeDurably(join(inline.targetPath, "note"), "inline");
  }
  await node.remember("ids", Object.fromEntries(volumes.map(({ wish, id }) => [wish.name, id])));
}

async function growWhileUnused(volume: TestVolume): Promise<void> {
  await volume.start();
  await writeNote(volume, "first of growing");
  await volume.unpublish();
  await volume.unstage();
  await volume.expand(grownBytes);
}

/** Kubelet's directories are there as they were, nothing is mounted, and what was in memory is gone. */
export async function afterPowerFailure(node: Node): Promise<void> {
  await forgetPod(node);
  await node.startDriver();
  const volumes = await findVolumes(node, wishes);
  for (const [index, volume] of volumes.entries()) {
    await expectNoEmptyDirectory(volume);
    // Kubelet does the one or the other, as it remembers the pod or not.
    if (index % 2 === 1) await leave(volume);
    await use(volume);
    equal(await readNote(volume), volume.wish.name === "plain" ? "second of plain" : `first of ${volume.wish.name}`);
  }
  await expectCleanFileSystems(volumes);
  await expectMemoryGone(node);
  await expectInlineVolumes(node);
  await expectGrown(node.volume(growing));
  await expectRestored(node, volumes[0] as TestVolume);
  for (const volume of volumes) await writeNote(volume, `third of ${volume.wish.name}`);
  await node.shutDown();
}

/** A node that was shut down in order has everything, and gives everything back. */
export async function afterShutdown(node: Node): Promise<void> {
  await node.startDriver();
  const volumes = await findVolumes(node, wishes);
  for (const volume of volumes) {
    await use(volume);
    equal(await readNote(volume), `third of ${volume.wish.name}`);
  }
  const { snapshots } = node;
  for (const id of await snapshots.listIds()) await snapshots.delete(id);
  for (const volume of [...volumes, ...(await findVolumes(node, [growing, inMemory]))]) await volume.finish();
  for (const pod of [pods.returning, pods.inMemory]) await node.inline(pod, inlineAttributes).unpublish();
  deepEqual(await listVolumeIds(node), []);
  deepEqual(await readdir(node.imageDirectory), []);
  await node.shutDown();
}

/** A repeated CreateVolume finds the volume by its name, and must not make another one. */
async function findVolumes(node: Node, named: readonly VolumeWish[]): Promise<TestVolume[]> {
  const ids = await node.recall<Record<string, string>>("ids");
  const volumes = named.map((wish) => node.volume(wish));
  for (const volume of volumes) {
    const { volumeId } = await volume.create();
    if (volume.wish.parameters?.pool !== "memory" && ids[volume.wish.name] !== undefined) {
      equal(volumeId, ids[volume.wish.name], `${volume.wish.name} was made anew`);
    }
  }
  return volumes;
}

async function use(volume: TestVolume): Promise<void> {
  await volume.stage();
  await volume.publish();
}

async function leave(volume: TestVolume): Promise<void> {
  await volume.unpublish();
  await volume.unstage();
}

/** The pod would write into the node's own disk. */
async function expectNoEmptyDirectory(volume: TestVolume): Promise<void> {
  await rejects(volume.publish(), (error: { code: number; details: string }) => {
    equal(error.code, status.FAILED_PRECONDITION);
    match(error.details, /is not staged: stage it first/);
    return true;
  });
}

async function expectCleanFileSystems(volumes: readonly TestVolume[]): Promise<void> {
  for (const volume of volumes.filter(({ wish }) => wish.name === "plain" || wish.name === "thin")) {
    await volume.unpublish();
    await checkFileSystem(volume.stagingPath);
    await volume.publish();
  }
}

/** A volume whose bytes were in memory is told as gone, and not replaced by an empty one. */
async function expectMemoryGone(node: Node): Promise<void> {
  const volume = node.volume(inMemory);
  const { [inMemory.name]: lostId = "" } = await node.recall<Record<string, string>>("ids");
  const { stagingPath: stagingTargetPath, targetPath } = volume;
  const volumeCapability = {
    accessType: { $case: "mount" as const, value: {} },
    accessMode: { mode: AccessMode.SINGLE_NODE_WRITER },
  };
  const stage = NodeStageVolumeRequest.fromPartial({ volumeId: lostId, stagingTargetPath, volumeCapability });
  await rejects(node.client.call(NodeService.nodeStageVolume, stage), { code: status.NOT_FOUND });
  const unpublish = NodeUnpublishVolumeRequest.fromPartial({ volumeId: lostId, targetPath });
  await node.client.call(NodeService.nodeUnpublishVolume, unpublish);
  const unstage = NodeUnstageVolumeRequest.fromPartial({ volumeId: lostId, stagingTargetPath });
  await node.client.call(NodeService.nodeUnstageVolume, unstage);
  await use(await created(volume));
  notEqual(volume.id, lostId);
  await leave(volume);
}

async function created(volume: TestVolume): Promise<TestVolume> {
  await volume.create();
  return volume;
}

async function expectInlineVolumes(node: Node): Promise<void> {
  const returning = node.inline(pods.returning, inlineAttributes);
  await returning.publish();
  equal(await readFile(join(returning.targetPath, "note"), "utf8"), "inline");
  const fresh = node.inline(pods.inMemory, { ...inlineAttributes, pool: "memory" });
  await fresh.publish();
  await rejects(readFile(join(fresh.targetPath, "note"), "utf8"), { code: "ENOENT" });
  const { id } = node.inline(pods.forgotten, inlineAttributes);
  await rejects(access(join(node.imageDirectory, id)), { code: "ENOENT" });
}

/** Kubelet has cleaned up after a pod of its own accord, as it does with those that were deleted in the meantime. */
async function forgetPod(node: Node): Promise<void> {
  const inline = node.inline(pods.forgotten, inlineAttributes);
  await access(join(node.imageDirectory, inline.id));
  await rmdir(inline.targetPath);
  await inline.removePodDirectory();
}

async function expectGrown(volume: TestVolume): Promise<void> {
  await use(await created(volume));
  equal(await readNote(volume), "first of growing");
  const { usage } = await volume.readStats();
  const totalBytes = usage.find(({ unit }) => unit === 1)?.total ?? 0n;
  ok(totalBytes > BigInt(growing.sizeBytes), `the file system has ${totalBytes} bytes, and did not grow`);
}

async function expectRestored(node: Node, source: TestVolume): Promise<void> {
  const { snapshotId, readyToUse } = await node.snapshots.create(snapshotName, source.id);
  ok(readyToUse);
  const value = { type: { $case: "snapshot" as const, value: { snapshotId } } };
  const restored = node.volume({ ...source.wish, name: "restored", contentSource: value });
  await restored.start();
  equal(await readNote(restored), "first of plain");
  await restored.finish();
}

async function listVolumeIds(node: Node): Promise<string[]> {
  const { entries } = await node.client.call(ControllerService.listVolumes, ListVolumesRequest.fromPartial({}));
  return entries.map(({ volume }) => volume?.volumeId ?? "");
}
