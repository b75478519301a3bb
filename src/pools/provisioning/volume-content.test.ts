import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { BlockDeviceError } from "../../engine/block-devices.js";
import { blockCapability, mebibyte, mountCapability, rejectionOf, Workspace } from "../../testing/workspace.js";
import type { ContentSource, Volume, VolumeCapability } from "../volume/volume.js";
import { createVolumeId } from "../volume/volume-id.js";
import { type RunLocked, VolumeContents } from "./volume-content.js";
import { type CreateRequest, VolumeProvisioner } from "./volume-provisioner.js";

let workspace: Workspace;
let source: Volume;

const sizeBytes = 2n * mebibyte;
const bytesOf = (text: string) => Buffer.from(text.padEnd(Number(sizeBytes), "."));

beforeEach(async () => {
  workspace = await Workspace.create();
  source = await create({ name: "source" });
  await writeFile(imageOf(source), bytesOf("first"));
});

afterEach(() => workspace.remove());

async function create(change: Partial<CreateRequest>): Promise<Volume> {
  const request = { name: "new", range: { requiredBytes: sizeBytes }, capabilities: [mountCapability], parameters: {} };
  return await workspace.provisioner.create({ ...request, ...change });
}

const imageOf = (volume: Volume) => workspace.pools.poolOf(volume).imagePath(volume.id);
const fromVolume = (): ContentSource => ({ kind: "volume", volumeId: source.id });

async function fromSnapshot(): Promise<ContentSource> {
  const request = { name: "snap", sourceVolumeId: source.id, parameters: {} };
  return { kind: "snapshot", snapshotId: (await workspace.snapshotter.create(request)).id };
}

const readStart = async (volume: Volume) => (await readFile(imageOf(volume), "utf8")).slice(0, 5);

describe.each([
  ["shared blocks", true],
  ["a copy", false],
])("a volume made by %s", (_way, canShare) => {
  beforeEach(() => {
    workspace.imageFiles.canShare = canShare;
  });

  test("from a snapshot has what the snapshot has, and not what came later", async () => {
    const contentSource = await fromSnapshot();
    await writeFile(imageOf(source), bytesOf("later"));
    const volume = await create({ contentSource });
    expect(volume.contentSource).toEqual(contentSource);
    expect((await readFile(imageOf(volume))).equals(bytesOf("first"))).toBe(true);
  });

  test("from a volume has what the volume has, and is nobody else's", async () => {
    const volume = await create({ contentSource: fromVolume() });
    await writeFile(imageOf(source), bytesOf("later"));
    expect(await readStart(volume)).toBe("first");
    await workspace.provisioner.delete(source.id);
    expect(await readStart(volume)).toBe("first");
  });

  test("may be larger, and is allocated to the end", async () => {
    const volume = await create({ contentSource: await fromSnapshot(), range: { requiredBytes: 2n * sizeBytes } });
    const { size, blocks } = await stat(imageOf(volume));
    expect(size).toBe(Number(2n * sizeBytes));
    expect(blocks * 512).toBeGreaterThanOrEqual(size);
    expect(await readStart(volume)).toBe("first");
  });

  test("may lie in another pool, and have other provisioning", async () => {
    const parameters = { pool: "memory", provisioning: "thin" };
    const volume = await create({ contentSource: await fromSnapshot(), parameters });
    expect(volume.pool).toBe("memory");
    expect(await readStart(volume)).toBe("first");
  });

  test("has the size of its source when none is asked for", async () => {
    expect((await create({ contentSource: fromVolume(), range: undefined })).sizeBytes).toBe(sizeBytes);
  });

  test("asked for again is the same one, even when the source is gone", async () => {
    const contentSource = await fromSnapshot();
    const first = await create({ contentSource });
    await workspace.snapshotter.delete(contentSource.kind === "snapshot" ? contentSource.snapshotId : "");
    await workspace.reopen();
    expect((await create({ contentSource })).id).toBe(first.id);
  });
});

test("a clone of a volume with a device is made while its I/O stands still", async () => {
  const spec = { volumeId: source.id, sizeBytes, readOnly: false, logicalBlockSizeBytes: 512, discard: false };
  await workspace.blockDevices.attach({ ...spec, image: { kind: "file", path: imageOf(source) } });
  workspace.blockDevices.calls.length = 0;
  await create({ contentSource: fromVolume() });
  expect(workspace.blockDevices.calls).toEqual([`freeze ${source.id}`, `thaw ${source.id}`]);
});

test.each([
  ["thick", 2, "startCopy"],
  ["thin", 2, undefined],
  ["thick", 1, undefined],
])(
  "the blocks of a %s clone in a pool with an overcommit of %d are copied where they have to be its own: %s",
  async (provisioning, overcommit, call) => {
    const [disk, ...rest] = workspace.poolRequests;
    if (disk === undefined) throw new Error("the workspace has no pool");
    await workspace.reopen([{ ...disk, settings: { overcommit } }, ...rest]);
    await create({ contentSource: fromVolume(), parameters: { provisioning } });
    const copies = workspace.blockDevices.calls.filter((each) => each.startsWith("startCopy"));
    expect(copies).toEqual(call === undefined ? [] : [`${call} ${source.id}`]);
  },
);

test("a clone without a file system type has that of its source", async () => {
  const xfs = { ...mountCapability, fsType: "xfs" } as VolumeCapability;
  const range = { requiredBytes: 300n * mebibyte };
  source = await create({ name: "xfs", capabilities: [xfs], range, parameters: { provisioning: "thin" } });
  const open: VolumeCapability = { accessType: "mount", accessMode: "SINGLE_NODE_WRITER", mountFlags: [] };
  const request = { capabilities: [open], contentSource: fromVolume(), range, parameters: { provisioning: "thin" } };
  const volume = await create(request);
  expect(volume.capabilities).toEqual([{ ...open, fsType: "xfs" }]);
  expect((await create(request)).id).toBe(volume.id);
});

describe.each([
  ["shared blocks", true],
  ["a copy", false],
])("a clone by %s whose source grows", (_way, canShare) => {
  beforeEach(() => {
    workspace.imageFiles.canShare = canShare;
  });

  const growSource = () => workspace.pools.growVolume(workspace.pools.getVolume(source.id), 2n * sizeBytes);

  async function expectWholeAfter(failing: Promise<unknown>): Promise<void> {
    expect(await rejectionOf(failing)).toMatchObject({
      code: "busy",
      message: /has grown while a volume was being made/,
    });
    expect(await readdir(workspace.path("disk", "volumes"))).toEqual([source.id]);
    const clone = await create({ contentSource: fromVolume(), range: undefined });
    expect(clone.sizeBytes).toBe(2n * sizeBytes);
    expect(await readStart(clone)).toBe("first");
  }

  test("before its lock is held is made by a repetition, whole", async () => {
    const { pools, blockDevices, snapshots } = workspace;
    const runLocked: RunLocked = async (_keys, work) => {
      await growSource();
      return await work();
    };
    const contents = new VolumeContents({ ...snapshots, pools, blockDevices, runLocked });
    const provisioner = new VolumeProvisioner(pools, blockDevices, contents);
    const request = { name: "new", range: { requiredBytes: 4n * sizeBytes }, capabilities: [mountCapability] };
    const failing = provisioner.create({ ...request, parameters: {}, contentSource: fromVolume() });
    await expectWholeAfter(failing);
  });

  test("before its lock is held was deleted: it is missing, and nothing is left", async () => {
    const { pools, blockDevices, snapshots } = workspace;
    const runLocked: RunLocked = async (_keys, work) => {
      await workspace.provisioner.delete(source.id);
      return await work();
    };
    const contents = new VolumeContents({ ...snapshots, pools, blockDevices, runLocked });
    const provisioner = new VolumeProvisioner(pools, blockDevices, contents);
    // As when the deletion had looked before that for what is made of the volume.
    contents.assertVolumeUnused = () => undefined;
    workspace.snapshots.imageUse.assertUnused = () => undefined;
    const request = { name: "new", range: undefined, capabilities: [mountCapability], parameters: {} };
    const error = await rejectionOf(provisioner.create({ ...request, contentSource: fromVolume() }));
    expect(error).toMatchObject({ code: "missing" });
    expect(await readdir(workspace.path("disk", "volumes"))).toEqual([]);
  });

  test("before its bytes are booked is made by a repetition, whole", async () => {
    const { pools } = workspace;
    const createVolume = pools.createVolume.bind(pools);
    pools.createVolume = async (...made) => {
      pools.createVolume = createVolume;
      await growSource();
      await createVolume(...made);
    };
    await expectWholeAfter(create({ contentSource: fromVolume(), range: undefined }));
  });
});

describe("is refused, and nothing is made", () => {
  test.each<[string, Partial<CreateRequest>, string, RegExp]>([
    [
      "a smaller size",
      { range: { requiredBytes: mebibyte } },
      "out_of_range",
      /less than the source, which has 2097152/,
    ],
    ["a smaller limit", { range: { limitBytes: mebibyte } }, "out_of_range", /less than the source/],
    ["block access to a file system", { capabilities: [blockCapability] }, "invalid", /not for block access/],
    [
      "another file system",
      { capabilities: [{ ...mountCapability, fsType: "xfs" } as VolumeCapability] },
      "invalid",
      /was made for a file system of type ext4, not for a file system of type xfs/,
    ],
    ["another logical block", { parameters: { logicalBlockSize: "4096" } }, "invalid", /logical blocks of 512 bytes/],
  ])("%s", async (_case, change, code, message) => {
    expect(await rejectionOf(create({ contentSource: fromVolume(), ...change }))).toMatchObject({ code, message });
    expect(workspace.pools.listVolumes()).toEqual([source]);
  });

  test.each<[string, ContentSource]>([
    ["a volume that no node can have", { kind: "volume", volumeId: "nothing" }],
    ["a snapshot that no node can have", { kind: "snapshot", snapshotId: "nothing" }],
  ])("%s", async (_case, contentSource) => {
    expect(await rejectionOf(create({ contentSource }))).toMatchObject({ code: "missing" });
  });

  const elsewhere = createVolumeId();
  test.each<[string, ContentSource]>([
    ["a volume", { kind: "volume", volumeId: elsewhere }],
    ["a snapshot", { kind: "snapshot", snapshotId: elsewhere }],
  ])("%s that another node may have, so that the caller looks there", async (what, contentSource) => {
    const message = expect.stringMatching(`${what.slice(2)} ${elsewhere} is not on this node: it lives on another one`);
    expect(await rejectionOf(create({ contentSource }))).toMatchObject({ code: "no_space", message });
  });

  test("another source under the same name", async () => {
    await create({ contentSource: fromVolume() });
    const error = await rejectionOf(create({ contentSource: await fromSnapshot() }));
    expect(error).toMatchObject({ code: "conflict", message: /other source of its content/ });
    expect(await rejectionOf(create({}))).toMatchObject({ code: "conflict" });
  });

  test("a copy that fails", async () => {
    workspace.imageFiles.canShare = false;
    workspace.blockDevices.holdCopies = true;
    const making = rejectionOf(create({ contentSource: fromVolume() }));
    const copyId = await waitForCopy();
    workspace.blockDevices.settleCopy(copyId, "EIO: broken");
    expect(await making).toMatchObject({ code: "internal", message: /EIO: broken/ });
    expect(await readdir(workspace.path("disk", "volumes"))).toEqual([source.id]);
    expect(await workspace.blockDevices.findCopy(copyId)).toBeUndefined();
  });

  test("an instant that cannot be had", async () => {
    workspace.blockDevices.startCopies = () => Promise.reject(new BlockDeviceError("unavailable", "no engine"));
    workspace.imageFiles.canShare = false;
    expect(await rejectionOf(create({ contentSource: fromVolume() }))).toMatchObject({ code: "unavailable" });
    expect(await readdir(workspace.path("disk", "volumes"))).toEqual([source.id]);
  });
});

describe("while a volume is being copied", () => {
  beforeEach(() => {
    workspace.imageFiles.canShare = false;
    workspace.blockDevices.holdCopies = true;
  });

  test("its source cannot be deleted", async () => {
    const making = create({ contentSource: fromVolume() });
    const copyId = await waitForCopy();
    expect(await rejectionOf(workspace.provisioner.delete(source.id))).toMatchObject({ code: "busy" });
    workspace.blockDevices.settleCopy(copyId);
    await making;
    await workspace.provisioner.delete(source.id);
  });

  test("it is not there yet, and waits for a snapshot that is not ready either", async () => {
    const contentSource = await fromSnapshot();
    const making = create({ contentSource });
    const snapshotId = contentSource.kind === "snapshot" ? contentSource.snapshotId : "";
    const isInUse = () => isRejected(() => workspace.snapshots.imageUse.assertUnused("snapshot", snapshotId));
    while (!isInUse()) await new Promise(setImmediate);
    expect(await rejectionOf(workspace.snapshotter.delete(snapshotId))).toMatchObject({ code: "busy" });
    workspace.blockDevices.settleCopy(snapshotId);
    const copyId = await waitForCopy(snapshotId);
    expect(workspace.pools.listVolumes()).toEqual([source]);
    workspace.blockDevices.settleCopy(copyId);
    expect(await readStart(await making)).toBe("first");
  });
});

describe("a volume that is given up while the engine is away", () => {
  let bringBack: () => void;
  let copyId: string;

  beforeEach(async () => {
    workspace.imageFiles.canShare = false;
    workspace.blockDevices.holdCopies = true;
    const making = rejectionOf(create({ contentSource: fromVolume() }));
    copyId = await waitForCopy();
    const { findCopy, endCopy } = workspace.blockDevices;
    const unavailable = () => Promise.reject(new BlockDeviceError("unavailable", "no engine"));
    Object.assign(workspace.blockDevices, { findCopy: unavailable, endCopy: unavailable });
    bringBack = () => Object.assign(workspace.blockDevices, { findCopy, endCopy });
    expect(await making).toMatchObject({ code: "unavailable" });
  });

  const volumeIds = () => readdir(workspace.path("disk", "volumes"));
  const bookedBytes = (id: string) => workspace.pools.poolOf(source).ledger.bookedBytes(id);

  test("keeps image and bytes until its copy has ended, and is no volume", async () => {
    expect((await volumeIds()).sort()).toEqual([source.id, copyId].sort());
    expect(bookedBytes(copyId)).toBe(sizeBytes);
    expect(workspace.pools.listVolumes()).toEqual([source]);
    bringBack();
    while ((await volumeIds()).length > 1) await new Promise(setImmediate);
    expect(workspace.blockDevices.copyIds).toEqual([]);
    await workspace.snapshots.store.leftovers.clear([source.id]);
    expect(bookedBytes(copyId)).toBe(0n);
  });

  test("leaves no more when it is asked for again, and is made when the engine is back", async () => {
    for (let attempt = 0; attempt < 3; attempt++) {
      expect(await rejectionOf(create({ contentSource: fromVolume() }))).toMatchObject({ code: "unavailable" });
    }
    expect((await volumeIds()).sort()).toEqual([source.id, copyId].sort());
    bringBack();
    workspace.blockDevices.holdCopies = false;
    const volume = await create({ contentSource: fromVolume() });
    expect(await readStart(volume)).toBe("first");
    expect((await volumeIds()).sort()).toEqual([source.id, volume.id].sort());
  });

  test("has its copy ended by the next start, which removes it", async () => {
    await workspace.snapshots.store.close();
    bringBack();
    await workspace.reopen();
    await workspace.pools.collectOrphans(new Set(), (id) => workspace.blockDevices.endCopy(id));
    expect(workspace.blockDevices.copyIds).toEqual([]);
    expect(await volumeIds()).toEqual([source.id]);
  });
});

/** The id of the copy into a new volume, once it has begun. */
async function waitForCopy(...known: string[]): Promise<string> {
  for (;;) {
    for (const id of await readdir(workspace.path("disk", "volumes"))) {
      if (!known.includes(id) && (await workspace.blockDevices.findCopy(id)) !== undefined) return id;
    }
    await new Promise(setImmediate);
  }
}

function isRejected(check: () => void): boolean {
  try {
    check();
    return false;
  } catch {
    return true;
  }
}
