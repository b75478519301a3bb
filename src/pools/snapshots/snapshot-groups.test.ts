import { readdir, rename, rm, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { BlockDeviceError } from "../../engine/block-devices.js";
import { mebibyte, mountCapability, rejectionOf, Workspace } from "../../testing/workspace.js";
import { ImageUse } from "../images/image-use.js";
import { UnfinishedMark } from "../records/unfinished-mark.js";
import type { SnapshotGroup } from "../volume/snapshot.js";
import type { Volume } from "../volume/volume.js";
import type { GroupView } from "./snapshot-groups.js";

let workspace: Workspace;
let onDisk: Volume;
let inMemory: Volume;

beforeEach(async () => {
  workspace = await Workspace.create();
  [onDisk, inMemory] = [await createVolume("a"), await createVolume("b", "memory")];
});

afterEach(() => workspace.remove());

async function createVolume(name: string, pool = "disk"): Promise<Volume> {
  const capabilities = [mountCapability];
  const range = { requiredBytes: 2n * mebibyte };
  return await workspace.provisioner.create({ name, range, capabilities, parameters: { pool } });
}

const create = (sources = [onDisk.id, inMemory.id]): Promise<GroupView> =>
  workspace.groups.create({ name: "group", sourceVolumeIds: sources, parameters: {} });

const groupFolders = ["disk/groups", "memory/memory/groups"];

async function leftOnDisk(): Promise<string[]> {
  const folders = ["disk/snapshots", "memory/memory/snapshots", ...groupFolders];
  return (await Promise.all(folders.map((folder) => readdir(workspace.path(folder))))).flat();
}

async function attach(...volumes: Volume[]): Promise<void> {
  for (const { id: volumeId, sizeBytes, pool } of volumes) {
    const image = { kind: "file", path: workspace.pools.find(pool)?.imagePath(volumeId) ?? "" } as const;
    const spec = { volumeId, image, sizeBytes, readOnly: false, logicalBlockSizeBytes: 512, discard: false };
    await workspace.blockDevices.attach(spec);
  }
  workspace.blockDevices.calls.length = 0;
}

test("a group has one snapshot of each volume, all of one instant", async () => {
  await attach(onDisk, inMemory);
  const { group, members } = await create();
  expect(members.map(({ sourceVolumeId }) => sourceVolumeId).sort()).toEqual([onDisk.id, inMemory.id].sort());
  expect(new Set(members.map(({ createdAt }) => createdAt))).toEqual(new Set([group.createdAt]));
  const { calls } = workspace.blockDevices;
  expect(calls.map((call) => call.split(" ")[0])).toEqual(["freeze", "freeze", "thaw", "thaw"]);
});

test("where one member has to be copied all are, at one instant", async () => {
  workspace.imageFiles.canShare = false;
  const { members } = await create();
  expect(workspace.blockDevices.calls.filter((call) => call.startsWith("startCopy"))).toHaveLength(2);
  for (const { id } of members) await workspace.snapshots.store.whenSettled(id);
  const { group } = await create();
  expect(workspace.groups.get(group.id, []).members.map(({ state }) => state)).toEqual(["ready", "ready"]);
});

describe("asked for again", () => {
  test("a group is the same one, whatever the order of its volumes, after a restart too", async () => {
    const first = await create();
    await workspace.reopen();
    expect(await create([inMemory.id, onDisk.id])).toEqual(first);
  });

  test("of other volumes is a conflict", async () => {
    await create();
    expect(await rejectionOf(create([onDisk.id]))).toMatchObject({ code: "conflict" });
  });

  test("after the copy of one member failed is an error with the reason, removes all, and begins anew", async () => {
    workspace.imageFiles.canShare = false;
    workspace.blockDevices.holdCopies = true;
    const { group, members } = await create();
    const [failing, other] = members.map(({ id }) => id);
    workspace.blockDevices.settleCopy(failing ?? "", "ENOSPC: no room");
    workspace.blockDevices.settleCopy(other ?? "");
    for (const { id } of members) await workspace.snapshots.store.whenSettled(id);
    expect(await rejectionOf(create())).toMatchObject({ code: "no_space", message: /ENOSPC: no room/ });
    expect(await leftOnDisk()).toEqual([]);
    expect((await create()).group.id).not.toBe(group.id);
  });

  test("while what is left of a failed one cannot be removed, it is made anew as soon as that can be", async () => {
    const { blockDevices, imageFiles, groups } = workspace;
    const request = { name: "group", sourceVolumeIds: [onDisk.id, inMemory.id], parameters: {} };
    const create = () => groups.create(request);
    imageFiles.canShare = false;
    blockDevices.holdCopies = true;
    const [first = ""] = (await create()).group.snapshotIds;
    blockDevices.settleCopy(first, "EIO");
    await workspace.snapshots.store.whenSettled(first);
    const { endCopy } = blockDevices;
    blockDevices.endCopy = () => Promise.reject(new BlockDeviceError("unavailable", "no engine"));
    for (let round = 0; round < 2; round++) expect(await rejectionOf(create())).toMatchObject({ code: "unavailable" });
    Object.assign(blockDevices, { endCopy, holdCopies: false });
    expect(await rejectionOf(create())).toMatchObject({ code: "busy", message: /was half removed, and is gone now/ });
    expect(await leftOnDisk()).toEqual([]);
    expect((await create()).members).toHaveLength(2);
  });
});

describe("a group is refused and leaves nothing", () => {
  test.each([
    ["without volumes", () => create([]), "invalid"],
    ["that names a volume twice", () => create([onDisk.id, onDisk.id]), "invalid"],
    ["with a volume that does not exist", () => create([onDisk.id, "nothing"]), "missing"],
  ])("%s", async (_case, call, code) => {
    expect(await rejectionOf(call())).toMatchObject({ code });
    expect(await leftOnDisk()).toEqual([]);
  });

  test("when one member has no room", async () => {
    workspace.imageFiles.canShare = false;
    const parameters = { pool: "memory" };
    const range = { requiredBytes: 40n * mebibyte };
    const big = await workspace.provisioner.create({ name: "big", range, capabilities: [mountCapability], parameters });
    expect(await rejectionOf(create([onDisk.id, big.id]))).toMatchObject({ code: "no_space" });
    expect(await leftOnDisk()).toEqual([]);
  });

  test("when the last record cannot be written", async () => {
    await rm(workspace.path("disk", "groups"), { recursive: true });
    await rm(workspace.path("memory", "memory", "groups"), { recursive: true });
    expect(await rejectionOf(create())).toMatchObject({ code: "ENOENT" });
    expect(await readdir(workspace.path("disk", "snapshots"))).toEqual([]);
    expect(workspace.snapshots.store.index.list()).toEqual([]);
  });
});

test("half a record of a group and half a mark, which a crash left, are removed at the next start", async () => {
  for (const name of ["0815.json.tmp", "4711.unfinished.tmp"]) {
    await writeFile(workspace.path("disk", "groups", name), "{");
  }
  await workspace.reopen();
  expect(await leftOnDisk()).toEqual([]);
});

test("a group whose record is on disk, but not for sure, is not there", async () => {
  const made = workspace.snapshots.store.make.bind(workspace.snapshots.store);
  workspace.snapshots.store.make = (plans, commit) =>
    made(plans, async (snapshots) => {
      const { clear } = UnfinishedMark.prototype;
      UnfinishedMark.prototype.clear = () => Promise.reject(new Error("the disk is gone"));
      await commit?.(snapshots).finally(() => {
        UnfinishedMark.prototype.clear = clear;
      });
    });
  expect((await rejectionOf(create())).message).toBe("the disk is gone");
  expect(await leftOnDisk()).toEqual([]);
  await workspace.reopen();
  expect((await create()).members).toHaveLength(2);
});

describe("the members of a group", () => {
  test("cannot be deleted one by one", async () => {
    const [member] = (await create()).members;
    expect(await rejectionOf(workspace.snapshotter.delete(member?.id ?? ""))).toMatchObject({ code: "invalid" });
  });

  test("have to be named right where they are named", async () => {
    const { group, members } = await create();
    const ids = members.map(({ id }) => id);
    expect(workspace.groups.get(group.id, [...ids].reverse()).members).toHaveLength(2);
    expect(() => workspace.groups.get(group.id, ids.slice(1))).toThrow(/are not the members of group/);
    expect(await rejectionOf(workspace.groups.delete(group.id, [...ids, "other"]))).toMatchObject({ code: "invalid" });
  });
});

describe("deleting a group", () => {
  test("works while a pool that it has nothing to do with is gone", async () => {
    const { group } = await create([onDisk.id]);
    await rename(workspace.path("memory", "memory"), workspace.path("memory", "away"));
    await workspace.groups.delete(group.id, []);
    await rename(workspace.path("memory", "away"), workspace.path("memory", "memory"));
    expect(await leftOnDisk()).toEqual([]);
  });

  test("removes it with all members, and may be repeated", async () => {
    const { group } = await create();
    await workspace.groups.delete(group.id, []);
    await workspace.groups.delete(group.id, []);
    expect(await leftOnDisk()).toEqual([]);
    expect(() => workspace.groups.get(group.id, [])).toThrow(/does not exist/);
  });

  test("whose copy failed removes nothing while a volume is being made from another member", async () => {
    workspace.imageFiles.canShare = false;
    workspace.blockDevices.holdCopies = true;
    const [good, bad] = (await create()).members.map(({ id }) => id);
    workspace.blockDevices.settleCopy(good ?? "");
    workspace.blockDevices.settleCopy(bad ?? "", "EIO");
    for (const id of [good, bad]) await workspace.snapshots.store.whenSettled(id ?? "");
    await workspace.snapshots.imageUse.during(good ?? "", async () => {
      expect(await rejectionOf(create())).toMatchObject({ code: "busy" });
    });
    expect(await leftOnDisk()).toHaveLength(3);
  });

  test("removes nothing while a volume is being made from a member", async () => {
    const { group, members } = await create();
    const { imageUse } = workspace.snapshots;
    expect(imageUse).toBeInstanceOf(ImageUse);
    await imageUse.during(members[1]?.id ?? "", async () => {
      expect(await rejectionOf(workspace.groups.delete(group.id, []))).toMatchObject({ code: "busy" });
    });
    expect(await leftOnDisk()).toHaveLength(3);
  });

  test("that failed half-way is finished by the next call", async () => {
    const { group } = await create();
    const [first] = group.snapshotIds;
    const pool = workspace.snapshots.store.poolNamed(workspace.snapshots.store.index.get(first ?? "").pool);
    const remove = pool.snapshots.remove.bind(pool.snapshots);
    pool.snapshots.remove = () => Promise.reject(new Error("the disk is gone"));
    expect((await rejectionOf(workspace.groups.delete(group.id, []))).message).toBe("the disk is gone");
    pool.snapshots.remove = remove;
    await workspace.groups.delete(group.id, []);
    expect(await leftOnDisk()).toEqual([]);
  });
});

describe("found at start", () => {
  async function loseRecord({ id }: SnapshotGroup): Promise<void> {
    for (const path of groupFolders) await rm(workspace.path(path, `${id}.json`), { force: true });
    await workspace.reopen();
  }

  test("members of a group that was never finished, or is half deleted, are removed", async () => {
    const { group } = await create();
    await writeFile(workspace.path("disk", "groups", `${group.id}.unfinished`), "");
    await loseRecord(group);
    expect(await leftOnDisk()).toEqual([]);
  });

  test("members of a group that could neither be finished nor removed, as the engine was away, are removed", async () => {
    workspace.imageFiles.canShare = false;
    workspace.blockDevices.holdCopies = true;
    const { store } = workspace.snapshots;
    const make = store.make.bind(store);
    store.make = (plans) => make(plans, () => Promise.reject(new Error("no record")));
    const { endCopy } = workspace.blockDevices;
    workspace.blockDevices.endCopy = () => Promise.reject(new BlockDeviceError("unavailable", "no engine"));
    expect((await rejectionOf(create())).message).toBe("no record");
    workspace.blockDevices.endCopy = endCopy;
    await workspace.reopen();
    expect(workspace.snapshots.store.index.list()).toEqual([]);
    expect(await readdir(workspace.path("disk/snapshots"))).toEqual([]);
  });

  test("members whose group has lost its record stay, and go with the group", async () => {
    const { group, members } = await create();
    await loseRecord(group);
    expect(workspace.snapshots.store.index.list()).toEqual(members);
    await workspace.groups.delete(group.id, []);
    expect(await leftOnDisk()).toEqual([]);
  });

  test("a group that was finished is one, though the mark of its making is still there, and loses that", async () => {
    const { group } = await create();
    await writeFile(workspace.path("disk", "groups", `${group.id}.unfinished`), "");
    await workspace.reopen();
    expect(workspace.groups.get(group.id, []).members).toHaveLength(2);
    expect(await leftOnDisk()).toHaveLength(3);
  });

  test("members whose group's pool is not there stay", async () => {
    const { group } = await create();
    const home = workspace.snapshots.store.index.membersOf(group)[0]?.group?.poolUuid;
    const homeName = workspace.pools.all.find(({ directory }) => directory.uuid === home)?.name;
    const rest = workspace.poolRequests.filter(({ name }) => name !== homeName);
    await workspace.reopen(rest);
    const [kept] = workspace.snapshots.store.index.list();
    expect(kept).toMatchObject({ state: "ready", group: { id: group.id } });
  });
});
