import { readdir, rm, symlink } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { blockCapability, mebibyte, Workspace } from "../../testing/workspace.js";
import type { Pool } from "../pool/pool.js";
import type { Volume } from "../volume/volume.js";
import { PoolPromises } from "./pool-promises.js";

let workspace: Workspace;
let volume: Volume;

beforeEach(async () => {
  workspace = await Workspace.create();
  volume = await create("data");
});
afterEach(() => workspace.remove());

const sizeBytes = 2n * mebibyte;

function create(name: string, parameters: Record<string, string> = {}): Promise<Volume> {
  return workspace.provisioner.create({
    name,
    range: { requiredBytes: sizeBytes },
    capabilities: [blockCapability],
    parameters,
  });
}

const pool = () => workspace.pools.find("disk") as Pool;

/** Stands for a damaged inode: the name is there, and to look at it fails. */
async function damage(path: string): Promise<void> {
  await rm(path, { force: true });
  await symlink(path, path);
}

describe("an image that cannot be looked at", () => {
  test("at the start makes its volume unusable, keeps the whole of it booked, and lets others be made", async () => {
    await damage(pool().imagePath(volume.id));
    await workspace.reopen();
    const reason = expect.stringMatching(/image cannot be looked at \(ELOOP.*check its file system/);
    expect(workspace.pools.listUnusable()).toEqual([{ id: volume.id, reason, damage: "record" }]);
    expect(pool().ledger.bookedBytes(volume.id)).toBe(sizeBytes);
    await create("other");
  });

  test("at the start makes its snapshot unusable, keeps what it held booked, and lets others be made", async () => {
    const { id, bookedBytes } = await workspace.snapshotter.create({
      name: "s",
      sourceVolumeId: volume.id,
      parameters: {},
    });
    expect(bookedBytes).toBeGreaterThan(0n);
    await damage(pool().snapshots.imagePath(id));
    await workspace.reopen();
    expect(() => workspace.snapshots.store.index.get(id)).toThrow(/image cannot be looked at \(ELOOP/);
    expect(pool().ledger.bookedBytes(id)).toBe(bookedBytes);
    await create("other");
    await workspace.snapshotter.create({ name: "other", sourceVolumeId: volume.id, parameters: {} });
  });

  test.each(["volume", "snapshot"])("of a %s without a record is no left-over", async (kind) => {
    const request = { name: "s", sourceVolumeId: volume.id, parameters: {} };
    const { id } = kind === "volume" ? volume : await workspace.snapshotter.create(request);
    const folder = workspace.path("disk", `${kind}s`, id);
    await rm(`${folder}/${kind}.json`);
    for (const name of ["image", "unfinished"]) await damage(`${folder}/${name}`);
    await workspace.reopen();
    await workspace.pools.collectOrphans(new Set());
    expect((await readdir(folder)).sort()).toEqual(["image", "unfinished"]);
  });

  test("later on lets others be made", async () => {
    const clone = { name: "c", range: undefined, capabilities: [blockCapability], parameters: {} };
    const contentSource = { kind: "volume" as const, volumeId: volume.id };
    const { id } = await workspace.provisioner.create({ ...clone, contentSource });
    const request = { name: "s", sourceVolumeId: volume.id, parameters: {} };
    const { id: snapshotId } = await workspace.snapshotter.create(request);
    for (const path of [pool().imagePath(id), pool().snapshots.imagePath(snapshotId)]) await damage(path);
    await create("other");
  });
});

describe("what an image that cannot be looked at may yet take", () => {
  let told: string[];
  let promises: PoolPromises;
  const freeBytes = 1000n;
  const pathOf = (id: string) => workspace.path(id);

  beforeEach(async () => {
    told = [];
    const sharedBytes = {
      read: async () => {
        throw Object.assign(new Error("EIO: i/o error"), { code: "EIO" });
      },
      forget: () => undefined,
    };
    promises = new PoolPromises({
      sharedBytes: sharedBytes as never,
      imagePathOf: pathOf,
      snapshotPathOf: pathOf,
      onUnreadable: (path) => told.push(path),
    });
  });

  test("is all of its size, whether or not it shares blocks; each is told once", async () => {
    for (const id of ["thick", "snapshot", "thin"]) await damage(pathOf(id));
    promises.noteSnapshot("snapshot");
    const thin = { ...volume.parameters, provisioning: "thin" as const };
    const contentSource = { kind: "volume" as const, volumeId: volume.id };
    promises.noteVolume({ ...volume, id: "thin", parameters: thin, contentSource });
    const bookings: Array<[string, bigint]> = [
      ["thick", 100n],
      ["snapshot", 10n],
      ["thin", sizeBytes],
    ];
    const promised = { outstandingBytes: 110n + sizeBytes, demandBytes: 110n + sizeBytes };
    for (let round = 0; round < 2; round++) expect(await promises.read(bookings, { freeBytes })).toEqual(promised);
    expect(told).toEqual(["thick", "snapshot", "thin"].map(pathOf));
  });
});
