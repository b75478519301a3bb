import { readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { BlockDeviceError } from "../../engine/block-devices.js";
import { mebibyte, mountCapability, rejectionOf, Workspace } from "../../testing/workspace.js";
import type { Snapshot } from "../volume/snapshot.js";
import type { Volume } from "../volume/volume.js";
import { openSnapshots } from "./open-snapshots.js";

let workspace: Workspace;

beforeEach(async () => {
  workspace = await Workspace.create();
});

afterEach(() => workspace.remove());

const sizeBytes = 2n * mebibyte;

async function createVolume(name: string, parameters: Record<string, string> = {}): Promise<Volume> {
  const capabilities = [mountCapability];
  return await workspace.provisioner.create({ name, range: { requiredBytes: sizeBytes }, capabilities, parameters });
}

const imageOf = (volume: Volume) => workspace.pools.poolOf(volume).imagePath(volume.id);
const fill = (volume: Volume, text: string) => writeFile(imageOf(volume), text.padEnd(Number(sizeBytes), "."));
const snapshotImage = ({ id }: Pick<Snapshot, "id">) => workspace.path("disk", "snapshots", id, "image");
const readStart = async (path: string) => (await readFile(path, "utf8")).slice(0, 5);

async function attach(volume: Volume): Promise<void> {
  const image = { kind: "file", path: imageOf(volume) } as const;
  const spec = { volumeId: volume.id, image, sizeBytes, readOnly: false, logicalBlockSizeBytes: 512, discard: false };
  await workspace.blockDevices.attach(spec);
  workspace.blockDevices.calls.length = 0;
}

async function snapshot(volume: Volume, name = "snap"): Promise<Snapshot> {
  return await workspace.snapshotter.create({ name, sourceVolumeId: volume.id, parameters: {} });
}

const filesOf = (folder: string) => readdir(workspace.path("disk", folder));
const settled = (id: string) => workspace.snapshots.store.whenSettled(id);

describe("a snapshot where blocks can be shared", () => {
  test("has what the volume had, and nothing that is written later", async () => {
    const volume = await createVolume("data");
    await fill(volume, "first");
    const made = await snapshot(volume);
    await fill(volume, "later");
    expect(made).toMatchObject({ state: "ready", sizeBytes, sourceVolumeId: volume.id, pool: "disk" });
    expect(await readStart(snapshotImage(made))).toBe("first");
  });

  test("of a volume with a device is made while its I/O stands still", async () => {
    const volume = await createVolume("data");
    await attach(volume);
    await snapshot(volume);
    expect(workspace.blockDevices.calls).toEqual([`freeze ${volume.id}`, `thaw ${volume.id}`]);
  });

  test("is copied instead when the I/O went on too early, and has nothing of the clone", async () => {
    const volume = await createVolume("data");
    await fill(volume, "first");
    await attach(volume);
    const tooLate = async () => {
      await fill(volume, "later");
      throw new BlockDeviceError("frozen", "thawed by its deadline");
    };
    workspace.blockDevices.thaw = tooLate;
    const made = await snapshot(volume);
    expect(made.state).toBe("copying");
    expect(await settled(made.id)).toMatchObject({ state: "ready" });
    expect(await readStart(snapshotImage(made))).toBe("later");
  });

  test("of a volume whose image is too long, since a growth and its undoing failed, has the volume's bytes alone", async () => {
    const volume = await createVolume("data", { encryption: "luks2" });
    const headerBytes = 16n * mebibyte;
    await truncate(imageOf(volume), Number(headerBytes + 2n * sizeBytes));
    for (const canShare of [true, false]) {
      workspace.imageFiles.canShare = canShare;
      workspace.snapshots = await openSnapshots({ ...workspace, copyIntervalMs: 1 });
      const { id } = await snapshot(volume, `shared-${canShare}`);
      await settled(id);
      expect((await stat(snapshotImage({ id }))).size).toBe(Number(headerBytes + sizeBytes));
      const image = workspace.snapshots.store.getImage(id);
      expect(image).toMatchObject({ sizeBytes, dataOffsetBytes: headerBytes });
    }
  });

  test("whose record has the size of an image that was too long has its bytes where they are all the same", async () => {
    const volume = await createVolume("data");
    const made = await snapshot(volume);
    workspace.snapshots.store.index.put({ ...made, imageSizeBytes: 2n * sizeBytes });
    expect(workspace.snapshots.store.getImage(made.id)).toMatchObject({ sizeBytes, dataOffsetBytes: 0n });
  });

  test("is refused of a volume whose image has lost its end, and nothing is made up", async () => {
    const volume = await createVolume("data");
    await truncate(imageOf(volume), 5);
    expect(await rejectionOf(snapshot(volume))).toMatchObject({ code: "refused", message: /has 5 bytes, the volume/ });
    expect(await filesOf("snapshots")).toEqual([]);
  });

  test("books no more than its image holds", async () => {
    const volume = await createVolume("data");
    const { id } = await snapshot(volume);
    const pool = workspace.pools.poolOf(volume);
    const allocatedBytes = BigInt((await stat(pool.snapshots.imagePath(id))).blocks) * 512n;
    expect(pool.ledger.bookedBytes(id)).toBe(allocatedBytes);
    await workspace.snapshotter.delete(id);
    expect(pool.ledger.bookedBytes(id)).toBe(0n);
  });

  test("stays as it is when its volume is deleted", async () => {
    const volume = await createVolume("data");
    await fill(volume, "first");
    const made = await snapshot(volume);
    await workspace.provisioner.delete(volume.id);
    await workspace.reopen();
    expect(workspace.snapshots.store.index.get(made.id)).toEqual(made);
    expect(await readStart(snapshotImage(made))).toBe("first");
  });
});

describe("a snapshot where blocks cannot be shared", () => {
  beforeEach(() => {
    workspace.imageFiles.canShare = false;
  });

  test("is copied, and ready when the copy is done", async () => {
    const volume = await createVolume("data");
    await fill(volume, "first");
    workspace.blockDevices.holdCopies = true;
    const made = await snapshot(volume);
    expect(made.state).toBe("copying");
    expect((await snapshot(volume)).id).toBe(made.id);
    workspace.blockDevices.settleCopy(made.id);
    expect(await settled(made.id)).toMatchObject({ state: "ready" });
    expect(await readStart(snapshotImage(made))).toBe("first");
    expect(await workspace.blockDevices.findCopy(made.id)).toBeUndefined();
  });

  test("is followed again after a restart", async () => {
    workspace.blockDevices.holdCopies = true;
    const { id } = await snapshot(await createVolume("data"));
    await workspace.reopen();
    expect(workspace.snapshots.store.index.get(id).state).toBe("copying");
    workspace.blockDevices.settleCopy(id);
    expect((await settled(id)).state).toBe("ready");
    await workspace.reopen();
    expect(workspace.snapshots.store.index.get(id).state).toBe("ready");
  });

  test("of which a crash lost the engine's answer is ended at the next start", async () => {
    const volume = await createVolume("data");
    const endCopy = workspace.blockDevices.endCopy.bind(workspace.blockDevices);
    workspace.blockDevices.endCopy = () => Promise.reject(new BlockDeviceError("unavailable", "the engine is gone"));
    const { id } = await snapshot(volume);
    while (workspace.snapshots.store.index.get(id).state !== "ready") await new Promise(setImmediate);
    workspace.blockDevices.endCopy = endCopy;
    await workspace.reopen();
    expect(await settled(id)).toMatchObject({ state: "ready", sizeBytes });
    expect(await workspace.blockDevices.findCopy(id)).toBeUndefined();
  });

  test("keeps its volume from being deleted until it is ready", async () => {
    const volume = await createVolume("data");
    workspace.blockDevices.holdCopies = true;
    const { id } = await snapshot(volume);
    expect(await rejectionOf(workspace.provisioner.delete(volume.id))).toMatchObject({ code: "busy" });
    workspace.blockDevices.settleCopy(id);
    await settled(id);
    await workspace.provisioner.delete(volume.id);
  });

  test("that fails says why once, is gone then, and can be asked for again", async () => {
    const volume = await createVolume("data");
    workspace.blockDevices.holdCopies = true;
    const { id } = await snapshot(volume);
    workspace.blockDevices.settleCopy(id, "EIO: the disk is broken");
    expect(await settled(id)).toMatchObject({ state: "failed", reason: "EIO: the disk is broken" });
    expect(await readdir(workspace.path("disk", "snapshots", id))).toEqual(["snapshot.json"]);
    const error = await rejectionOf(snapshot(volume));
    expect(error).toMatchObject({ code: "internal", message: expect.stringContaining("the disk is broken") });
    expect(await filesOf("snapshots")).toEqual([]);
    workspace.blockDevices.holdCopies = false;
    const again = await snapshot(volume);
    expect(again.id).not.toBe(id);
    expect((await settled(again.id)).state).toBe("ready");
  });

  test("that the engine knows nothing of any more has failed", async () => {
    workspace.blockDevices.holdCopies = true;
    const { id } = await snapshot(await createVolume("data"));
    await workspace.snapshots.store.close();
    await workspace.blockDevices.endCopy(id);
    await workspace.reopen();
    expect(await settled(id)).toMatchObject({ state: "failed", bookedBytes: 0n });
  });

  test("can be deleted while it is copied, which ends the copy", async () => {
    workspace.blockDevices.holdCopies = true;
    const { id } = await snapshot(await createVolume("data"));
    await workspace.snapshotter.delete(id);
    expect(await workspace.blockDevices.findCopy(id)).toBeUndefined();
    expect(await filesOf("snapshots")).toEqual([]);
  });
});

describe("asked for again", () => {
  test("a snapshot is the same one, after a restart too", async () => {
    const volume = await createVolume("data");
    const made = await snapshot(volume);
    await workspace.reopen();
    expect(await snapshot(volume)).toEqual(made);
  });

  test("of another volume is a conflict", async () => {
    await snapshot(await createVolume("data"));
    const other = await createVolume("other");
    expect(await rejectionOf(snapshot(other))).toMatchObject({ code: "conflict" });
  });

  test("to be deleted is a success", async () => {
    const { id } = await snapshot(await createVolume("data"));
    await workspace.snapshotter.delete(id);
    await workspace.snapshotter.delete(id);
  });
});

describe("a snapshot is refused", () => {
  test("of a volume that does not exist", async () => {
    const request = { name: "snap", sourceVolumeId: "nothing", parameters: {} };
    expect(await rejectionOf(workspace.snapshotter.create(request))).toMatchObject({ code: "missing" });
  });

  test("with a parameter", async () => {
    const volume = await createVolume("data");
    const parameters = { "csi.storage.k8s.io/volumesnapshot/name": "information", compress: "yes" };
    const request = { name: "snap", sourceVolumeId: volume.id, parameters };
    expect(await rejectionOf(workspace.snapshotter.create(request))).toMatchObject({
      code: "invalid",
      message: 'parameter "compress" is unknown: a snapshot class has no parameters',
    });
  });

  test("when the pool has no room for it, and leaves nothing", async () => {
    workspace.imageFiles.canShare = false;
    const half = { requiredBytes: 40n * mebibyte };
    const parameters = { pool: "memory" };
    const volume = await workspace.provisioner.create({
      name: "data",
      range: half,
      capabilities: [mountCapability],
      parameters,
    });
    expect(await rejectionOf(snapshot(volume))).toMatchObject({ code: "no_space" });
    expect(await readdir(workspace.path("memory", "memory", "snapshots"))).toEqual([]);
    expect(workspace.pools.find("memory")?.ledger.entries()).toEqual([[volume.id, 40n * mebibyte]]);
  });

  test("when it cannot be recorded, and leaves nothing", async () => {
    const volume = await createVolume("data");
    const { snapshots } = workspace.pools.poolOf(volume);
    snapshots.write = () => Promise.reject(Object.assign(new Error("no room"), { code: "ENOSPC" }));
    expect(await rejectionOf(snapshot(volume))).toMatchObject({ code: "no_space", message: /pool disk is full/ });
    expect(await filesOf("snapshots")).toEqual([]);
  });
});

describe("found at start", () => {
  test("an image that was never finished is removed, after its copy was ended", async () => {
    const { id } = await snapshot(await createVolume("data"));
    await rm(workspace.path("disk", "snapshots", id, "snapshot.json"));
    await writeFile(workspace.path("disk", "snapshots", id, "unfinished"), "");
    workspace.blockDevices.calls.length = 0;
    await workspace.reopen();
    expect(await filesOf("snapshots")).toEqual([]);
    expect(workspace.blockDevices.calls).toEqual([`endCopy ${id}`]);
  });

  test("an image whose record was lost is kept, and an error for whoever asks", async () => {
    const { id } = await snapshot(await createVolume("data"));
    await rm(workspace.path("disk", "snapshots", id, "snapshot.json"));
    await workspace.reopen();
    expect(await filesOf("snapshots")).toEqual([id]);
    const error = await rejectionOf(workspace.snapshotter.delete(id));
    expect(error).toMatchObject({ code: "refused", message: /snapshot\.json is missing and its image is there/ });
  });

  test("a snapshot that was finished is one, though the mark of its making is still there, and loses that", async () => {
    const made = await snapshot(await createVolume("data"));
    await writeFile(workspace.path("disk", "snapshots", made.id, "unfinished"), "");
    await workspace.reopen();
    expect(workspace.snapshots.store.index.get(made.id)).toEqual(made);
    expect((await readdir(workspace.path("disk", "snapshots", made.id))).sort()).toEqual(["image", "snapshot.json"]);
  });

  test("a corrupt record stays, keeps its bytes booked, and is an error for whoever asks", async () => {
    const volume = await createVolume("data");
    await fill(volume, "first");
    const { id } = await snapshot(volume);
    await writeFile(workspace.path("disk", "snapshots", id, "snapshot.json"), "{");
    await workspace.reopen();
    expect(await rejectionOf(workspace.snapshotter.delete(id))).toMatchObject({ code: "refused" });
    expect(workspace.pools.poolOf(volume).ledger.bookedBytes(id)).toBeGreaterThan(mebibyte);
    expect(await filesOf("snapshots")).toEqual([id]);
  });

  test("an image that was cut makes its snapshot unusable", async () => {
    const made = await snapshot(await createVolume("data"));
    await truncate(snapshotImage(made), 5);
    await workspace.reopen();
    const error = await rejectionOf(workspace.snapshotter.delete(made.id));
    expect(error.message).toContain(`has 5 bytes, the snapshot has ${sizeBytes}`);
  });
});
