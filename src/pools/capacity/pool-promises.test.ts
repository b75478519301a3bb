import { utimes, writeFile } from "node:fs/promises";
import { afterAll, afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import type { FileExtent } from "../../system/image-files.js";
import { blockCapability, mebibyte, rejectionOf, Workspace } from "../../testing/workspace.js";
import { AllocatedBytes } from "../images/allocated-bytes.js";
import type { Pool } from "../pool/pool.js";
import type { Volume } from "../volume/volume.js";
import { PoolPromises } from "./pool-promises.js";

let workspace: Workspace;
let pool: Pool;

beforeEach(async () => {
  workspace = await Workspace.create();
  await reopen();
});
afterEach(() => workspace.remove());

async function reopen(): Promise<void> {
  await workspace.reopen();
  pool = workspace.pools.find("disk") as Pool;
}

function create(name: string, provisioning: "thick" | "thin"): Promise<Volume> {
  const request = { name, range: { requiredBytes: 4n * mebibyte }, capabilities: [blockCapability] };
  return workspace.provisioner.create({ ...request, parameters: { provisioning } });
}

function setExtents(path: string, sharedBytes: bigint): void {
  const place = { logicalBytes: 0n, physicalBytes: 0n, isUnwritten: false, isPlaced: true };
  const extents: FileExtent[] = [{ ...place, lengthBytes: sharedBytes, isShared: true }];
  workspace.imageFiles.extents.set(path, extents);
}

describe("what the images of a pool may yet take", () => {
  test("is nothing for thick volumes, and what is not written for thin ones", async () => {
    await create("thick", "thick");
    expect(await pool.readDemandBytes()).toBe(0n);
    const thin = await create("thin", "thin");
    expect(await pool.readDemandBytes()).toBe(4n * mebibyte);
    await writeFile(pool.imagePath(thin.id), Buffer.alloc(Number(mebibyte), "x"), { flag: "r+" });
    expect(await pool.readDemandBytes()).toBe(3n * mebibyte);
    await reopen();
    expect(await pool.readDemandBytes()).toBe(3n * mebibyte);
    await workspace.provisioner.delete(thin.id);
    expect(await pool.readDemandBytes()).toBe(0n);
  });

  test("grows with a thin volume", async () => {
    const thin = await create("thin", "thin");
    await workspace.pools.growVolume(thin, 8n * mebibyte);
    expect(await pool.readDemandBytes()).toBe(8n * mebibyte);
  });

  test("is the whole of a thin volume where less is booked for it", async () => {
    workspace.memorySettings = { overcommit: 4 };
    await reopen();
    const parameters = { pool: "memory", provisioning: "thin" };
    const range = { requiredBytes: 4n * mebibyte };
    await workspace.provisioner.create({ name: "a", range, capabilities: [blockCapability], parameters });
    const memory = workspace.pools.find("memory") as Pool;
    expect(memory.ledger.reservedBytes).toBe(mebibyte);
    expect(await memory.readDemandBytes()).toBe(4n * mebibyte);
  });

  test("is what a snapshot shares with a thick volume, from its first moment on", async () => {
    const volume = await create("thick", "thick");
    setExtents(pool.imagePath(volume.id), mebibyte);
    expect(await pool.readDemandBytes()).toBe(0n);
    const { id } = await workspace.snapshotter.create({ name: "s", sourceVolumeId: volume.id, parameters: {} });
    expect(await pool.readDemandBytes()).toBe(mebibyte);
    const clone = { name: "c", range: undefined, capabilities: [blockCapability], parameters: {} };
    await workspace.provisioner.create({ ...clone, contentSource: { kind: "snapshot", snapshotId: id } });
    setExtents(pool.snapshots.imagePath(id), 2n * mebibyte);
    expect(await pool.readDemandBytes()).toBe(3n * mebibyte);
  });

  test("is what a clone shares, before it is finished, and nothing of it once that failed", async () => {
    const source = await create("source", "thick");
    setExtents(pool.imagePath(source.id), 2n ** 50n);
    const whileMade: bigint[] = [];
    workspace.runCommand = async () => {
      whileMade.push(await pool.readDemandBytes(), await pool.readAvailableBytes());
      throw new Error("fallocate failed");
    };
    const clone = { name: "clone", range: undefined, capabilities: [blockCapability], parameters: {} };
    const contentSource = { kind: "volume" as const, volumeId: source.id };
    await rejectionOf(workspace.provisioner.create({ ...clone, contentSource }));
    expect(whileMade).toEqual([expect.any(BigInt), 0n]);
    expect(whileMade[0]).toBeGreaterThanOrEqual(2n ** 50n);
    expect(await pool.readDemandBytes()).toBe(0n);
    expect(await pool.readAvailableBytes()).toBeGreaterThan(0n);
  });
});

describe("capacity", () => {
  /** Of a volume that nobody has written to lately. */
  async function createSnapshot(): Promise<[Volume, snapshotId: string]> {
    const volume = await create("thick", "thick");
    const { id } = await workspace.snapshotter.create({ name: "s", sourceVolumeId: volume.id, parameters: {} });
    await setWritten(volume, 100);
    return [volume, id];
  }

  const setWritten = ({ id }: Volume, secondsAgo: number) =>
    utimes(pool.imagePath(id), new Date(), new Date(Date.now() - secondsAgo * 1000));

  /** How many files were looked into for it. */
  async function countLooks(): Promise<number> {
    const before = workspace.imageFiles.peeked.length;
    await pool.readAvailableBytes();
    return workspace.imageFiles.peeked.length - before;
  }

  test("is known without a look into snapshots while nobody writes to their volume, also after a restart", async () => {
    const [volume] = await createSnapshot();
    for (const start of [async () => undefined, reopen]) {
      await start();
      expect([await countLooks(), await countLooks(), await countLooks()]).toEqual([1, 0, 0]);
      await setWritten(volume, 50);
      expect([await countLooks(), await countLooks()]).toEqual([1, 0]);
      await setWritten(volume, 40);
    }
  });

  test("is known without a look into snapshots when a volume that is no relative was deleted", async () => {
    const other = await create("other", "thick");
    await createSnapshot();
    expect(await countLooks()).toBe(1);
    await workspace.provisioner.delete(other.id);
    expect(await countLooks()).toBe(0);
  });

  test("is exact while somebody writes: what overwriting took was kept free for it", async () => {
    const [volume, snapshotId] = await createSnapshot();
    await setWritten(volume, 0);
    setExtents(pool.snapshots.imagePath(snapshotId), 2n ** 60n); // more than any disk has
    expect(await pool.readAvailableBytes()).toBe(0n);
    expect(await rejectionOf(create("refused", "thin"))).toMatchObject({ code: "no_space" });
    setExtents(pool.snapshots.imagePath(snapshotId), 0n);
    expect(await pool.readAvailableBytes()).toBeGreaterThan(0n);
    await create("fits", "thin");
  });

  test("does not suffer from writes to a volume that is no relative", async () => {
    await createSnapshot();
    const other = await create("other", "thick");
    await countLooks();
    await setWritten(other, 0);
    expect(await countLooks()).toBe(0);
  });
});

describe("what images occupy is looked at", () => {
  const ids = ["a", "b", "c"];
  const bookings = (more: string[] = []) => [...ids, ...more].map((id): [string, bigint] => [id, mebibyte]);
  const estimate = { freeBytes: 1000n, allocatedAgeMsMax: 15_000 };
  const look = jest.spyOn(AllocatedBytes.prototype, "look");
  let promises: PoolPromises;

  beforeEach(async () => {
    promises = new PoolPromises({ sharedBytes: undefined, imagePathOf: toPath, snapshotPathOf: toPath });
    const volume = { ...(await create("model", "thin")), sizeBytes: mebibyte };
    for (const id of [...ids, "d"]) promises.noteVolume({ ...volume, id });
    look.mockClear();
  });
  afterAll(() => look.mockRestore());

  const toPath = (id: string) => workspace.path(`no-image-of-${id}`);

  /** The images that were looked at since the last call. */
  function looked(): string[] {
    const found = look.mock.calls.map(([{ id }]) => id);
    look.mockClear();
    return found;
  }

  test("once for estimates, whoever looked, and each time for what is exact", async () => {
    const promised = { outstandingBytes: 3n * mebibyte, demandBytes: 3n * mebibyte };
    expect(await promises.read(bookings(), { freeBytes: 1000n })).toEqual(promised);
    expect(looked()).toEqual(ids);
    for (const freeBytes of [1000n, 900n]) {
      expect(await promises.read(bookings(), { ...estimate, freeBytes })).toEqual(promised);
    }
    expect(looked()).toEqual([]);
    await promises.read(bookings(), { freeBytes: 900n });
    expect(looked()).toEqual(ids);
  });

  test("for an estimate, too, once more is free than there was", async () => {
    await promises.read(bookings(), estimate);
    looked();
    await promises.read(bookings(), { ...estimate, freeBytes: 1001n });
    expect(looked()).toEqual(ids);
  });

  test("for an estimate only of volumes and snapshots that came or changed", async () => {
    await promises.read(bookings(), estimate);
    looked();
    promises.noteChange("b");
    await promises.read(bookings(["d"]), estimate);
    expect(looked()).toEqual(["b", "d"]);
    promises.noteRemoval("a");
    promises.noteSnapshot("a");
    await promises.read(bookings(["d"]), estimate);
    expect(looked()).toEqual(["a"]);
  });

  test("each time that something is booked, whatever was estimated before", async () => {
    const volume = await create("one", "thin");
    const { length } = pool.ledger.entries();
    await pool.estimateAvailableBytes("thin");
    looked();
    await create("three", "thin");
    expect(looked()).toHaveLength(length);
    await pool.estimateAvailableBytes("thin");
    looked();
    await workspace.pools.growVolume(volume, 8n * mebibyte);
    expect(looked()).toHaveLength(length + 1);
    await pool.estimateAvailableBytes("thin");
    looked();
    await workspace.snapshotter.create({ name: "s", sourceVolumeId: volume.id, parameters: {} });
    expect(looked()).toHaveLength(length + 1);
  });
});
