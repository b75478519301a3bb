import { readdir, readFile, rename, truncate, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { pino } from "pino";
import { BlockDeviceError } from "../../engine/block-devices.js";
import { mebibyte, mountCapability, rejectionOf, Workspace } from "../../testing/workspace.js";
import { readAllocatedBytes } from "../images/image.js";
import type { Pool } from "../pool/pool.js";
import type { Volume } from "../volume/volume.js";
import { openSnapshots } from "./open-snapshots.js";

let workspace: Workspace;
let volume: Volume;
let pool: Pool;
let id: string;

const sizeBytes = 2n * mebibyte;

/** A snapshot of a volume full of bytes is being copied. */
beforeEach(async () => {
  workspace = await Workspace.create();
  workspace.imageFiles.canShare = false;
  workspace.blockDevices.holdCopies = true;
  const range = { requiredBytes: sizeBytes };
  volume = await workspace.provisioner.create({ name: "data", range, capabilities: [mountCapability], parameters: {} });
  pool = workspace.pools.poolOf(volume);
  await writeFile(pool.imagePath(volume.id), Buffer.alloc(Number(sizeBytes), "x"));
  id = (await createSnapshot()).id;
});

afterEach(() => workspace.remove());

const createSnapshot = () => workspace.snapshotter.create({ name: "snap", sourceVolumeId: volume.id, parameters: {} });
const recordText = () => readFile(pool.snapshots.recordPath(id), "utf8");
const indexed = () => workspace.snapshots.store.index.get(id);
const full = () => Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });

async function untilFailed(): Promise<void> {
  while (indexed().state !== "failed" || (await readAllocatedBytes(pool.snapshots.imagePath(id))) > 0n) {
    await new Promise(setImmediate);
  }
}

describe("a copy that failed in a pool with no room for a record", () => {
  let attempts: number;
  let write: typeof pool.snapshots.write;

  beforeEach(() => {
    attempts = 0;
    write = pool.snapshots.write.bind(pool.snapshots);
    pool.snapshots.write = async () => {
      attempts++;
      throw full();
    };
  });

  test("gives its bytes back all the same, and says why at once", async () => {
    workspace.blockDevices.settleCopy(id, "ENOSPC: the pool is full");
    await untilFailed();
    while (pool.ledger.bookedBytes(id) > 0n) await new Promise(setImmediate);
    expect(await rejectionOf(createSnapshot())).toMatchObject({ code: "no_space", message: /the pool is full/ });
    expect(await readdir(pool.snapshots.path)).toEqual([]);
    expect(workspace.blockDevices.copyIds).toEqual([]);
  });

  test("is recorded when there is room, and is told of once", async () => {
    const lines: Array<{ level: number; msg: string }> = [];
    const logger = pino({ base: null }, { write: (line) => lines.push(JSON.parse(line)) });
    await workspace.snapshots.store.close();
    workspace.snapshots = await openSnapshots({ ...workspace, logger, copyIntervalMs: 1 });
    workspace.blockDevices.settleCopy(id, "ENOSPC");
    while (attempts < 4) await new Promise(setImmediate);
    pool.snapshots.write = write;
    expect(await workspace.snapshots.store.whenSettled(id)).toMatchObject({ state: "failed", reason: "ENOSPC" });
    expect(await readdir(workspace.path("disk", "snapshots", id))).toEqual(["snapshot.json"]);
    expect(lines.filter(({ level }) => level === pino.levels.values.warn)).toHaveLength(1);
  });

  test("has failed for the next start too, which records it", async () => {
    workspace.blockDevices.settleCopy(id, "ENOSPC");
    await untilFailed();
    await workspace.snapshots.store.close();
    expect(JSON.parse(await recordText())).toMatchObject({ state: "copying" });
    await workspace.reopen();
    expect(await workspace.snapshots.store.whenSettled(id)).toMatchObject({ state: "failed", bookedBytes: 0n });
    expect(JSON.parse(await recordText())).toMatchObject({ state: "failed" });
  });
});

test("a copy that is done and has lost bytes of its image has failed", async () => {
  await truncate(pool.snapshots.imagePath(id), 5);
  workspace.blockDevices.settleCopy(id);
  const reason = `its image has 5 bytes, and not ${sizeBytes}`;
  expect(await workspace.snapshots.store.whenSettled(id)).toMatchObject({ state: "failed", reason });
});

test("a copy that is done while its pool is away for a moment is a snapshot once the pool is back", async () => {
  const { blockDevices } = workspace;
  const findCopy = blockDevices.findCopy.bind(blockDevices);
  let looks = 0;
  blockDevices.findCopy = (copyId) => {
    looks++;
    return findCopy(copyId);
  };
  await rename(workspace.path("disk"), workspace.path("away"));
  blockDevices.settleCopy(id);
  while (looks < 4) await new Promise(setImmediate);
  await rename(workspace.path("away"), workspace.path("disk"));
  expect(await workspace.snapshots.store.whenSettled(id)).toMatchObject({ state: "ready" });
});

describe("a copy that is to be deleted", () => {
  test("is followed on when it cannot be ended", async () => {
    workspace.blockDevices.failure = new BlockDeviceError("unavailable", "the engine does not answer");
    expect(await rejectionOf(workspace.snapshotter.delete(id))).toMatchObject({ code: "unavailable" });
    workspace.blockDevices.settleCopy(id);
    expect(await workspace.snapshots.store.whenSettled(id)).toMatchObject({ state: "ready" });
  });

  test("has failed when it was ended and its image cannot be removed", async () => {
    const remove = pool.snapshots.remove.bind(pool.snapshots);
    pool.snapshots.remove = () => Promise.reject(new Error("EIO"));
    await rejectionOf(workspace.snapshotter.delete(id));
    expect(indexed()).toMatchObject({ state: "failed", reason: /ended for a deletion/ });
    pool.snapshots.remove = remove;
    await workspace.snapshotter.delete(id);
    expect(await readdir(pool.snapshots.path)).toEqual([]);
  });
});
