import { rename, rm } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { Driver } from "./driver.js";
import { createDriver } from "./driver.js";
import { BlockDeviceError } from "./engine/block-devices.js";
import {
  VolumeCapability_AccessMode_Mode as Mode,
  type VolumeCapability as ProtoCapability,
  type Snapshot,
  type Volume,
} from "./gen/csi/csi.js";
import { RpcClient, rpcs } from "./testing/rpc-client.js";
import { gibibyte, mebibyte, Workspace } from "./testing/workspace.js";

let workspace: Workspace;
let server: Driver;
let client: RpcClient;

beforeEach(async () => {
  workspace = await Workspace.create();
  const identity = { driverName: "csi.ublk.io", version: "1.2.3", nodeId: "node-a" };
  const { pools, blockDevices, snapshots, mounter, filesystems, logger } = workspace;
  const checkHealth = () => workspace.pools.checkHealth();
  const parts = {
    pools,
    blockDevices,
    snapshots,
    mounter,
    filesystems,
    logger,
    checkHealth,
    volumeCountMax: 7n,
    kubeletDir: workspace.path("targets"),
  };
  server = createDriver(identity, { ...parts, socketPath: workspace.path("csi.sock") });
  await server.start();
  client = new RpcClient(workspace.path("csi.sock"));
});

afterEach(async () => {
  client.close();
  await server.stop(1_000);
  await workspace.remove();
});

const accessMode = { mode: Mode.SINGLE_NODE_WRITER };
const mount = { fsType: "ext4", mountFlags: [] as string[], volumeMountGroup: "" };
const mountCapability: ProtoCapability = { accessType: { $case: "mount", value: mount }, accessMode };
const blockCapability: ProtoCapability = { accessType: { $case: "block", value: {} }, accessMode };
const range = { requiredBytes: 2n * mebibyte, limitBytes: 0n };

async function createVolume(name = "data", capability = mountCapability): Promise<Volume> {
  const request = { name, capacityRange: range, volumeCapabilities: [capability] };
  const { code, message, response } = await client.call(rpcs.createVolume, request);
  expect({ code, message }).toEqual({ code: "OK", message: "" });
  if (response?.volume === undefined) throw new Error("CreateVolume answered without a volume");
  return response.volume;
}

describe("an inline volume", () => {
  const context = { "csi.storage.k8s.io/ephemeral": "true", "csi.storage.k8s.io/pod.uid": "uid-1", size: "2Mi" };
  const volumeId = `csi-${"0".repeat(64)}`;

  test("is made by its publication alone, and goes with it", async () => {
    const targetPath = workspace.path("targets", "mount");
    const request = { volumeId, targetPath, volumeCapability: mountCapability, volumeContext: context };
    expect(await client.call(rpcs.nodePublishVolume, request)).toMatchObject({ code: "OK" });
    expect(workspace.mounter.entries).toMatchObject([{ mountPoint: targetPath }]);
    expect(await client.call(rpcs.nodeUnpublishVolume, { volumeId, targetPath })).toMatchObject({ code: "OK" });
    expect(workspace.pools.listEphemeral()).toEqual([]);
  });

  test("is not staged", async () => {
    const paths = { targetPath: workspace.path("targets", "mount"), stagingTargetPath: workspace.path("targets") };
    const request = { volumeId, ...paths, volumeCapability: mountCapability, volumeContext: context };
    expect(await client.call(rpcs.nodePublishVolume, request)).toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

describe("identity", () => {
  test("names the driver, its services, and is ready", async () => {
    expect((await client.call(rpcs.getPluginInfo, {})).response).toMatchObject({
      name: "csi.ublk.io",
      vendorVersion: "1.2.3",
    });
    const { response } = await client.call(rpcs.getPluginCapabilities, {});
    expect(response?.capabilities.map(({ type }) => [type?.$case, type?.value.type])).toEqual([
      ["service", 1],
      ["service", 2],
      ["service", 3],
      ["service", 4],
      ["service", 5],
      ["volumeExpansion", 1],
    ]);
    expect((await client.call(rpcs.probe, {})).response).toEqual({ ready: true });
  });

  test("Probe says what is wrong", async () => {
    workspace.pools.checkHealth = async () => {
      throw new BlockDeviceError("unavailable", "the engine is gone");
    };
    expect(await client.call(rpcs.probe, {})).toMatchObject({ code: "UNAVAILABLE", message: "the engine is gone" });
  });
});

test("a method that is not advertised answers UNIMPLEMENTED and says which", async () => {
  const outcome = await client.call(rpcs.controllerPublishVolume, { volumeId: "x", nodeId: "node-a" });
  expect(outcome.code).toBe("UNIMPLEMENTED");
  expect(outcome.message).toBe(
    "this driver does not offer Controller/ControllerPublishVolume, and its capabilities say so",
  );
});

describe("CreateVolume", () => {
  test("answers with id, exact size, topology and context", async () => {
    const volume = await createVolume();
    expect(volume.capacityBytes).toBe(2n * mebibyte);
    expect(volume.volumeId).toMatch(/^[a-z0-9-]{36}$/);
    expect(volume.accessibleTopology).toEqual([{ segments: { "topology.csi.ublk.io/node": "node-a" } }]);
    expect(volume.volumeContext).toEqual({ pool: "disk", provisioning: "thick" });
  });

  test("takes a name of 128 bytes, and returns the same volume for the same name", async () => {
    const name = "ü".repeat(64);
    expect((await createVolume(name)).volumeId).toBe((await createVolume(name)).volumeId);
  });

  const good = { name: "bad", capacityRange: range, volumeCapabilities: [mountCapability] };
  const withMode = (mode: Mode): ProtoCapability => ({ ...mountCapability, accessMode: { mode } });
  const withMount = (change: Partial<typeof mount>): ProtoCapability => ({
    ...mountCapability,
    accessType: { $case: "mount", value: { ...mount, ...change } },
  });
  const elsewhere = { requisite: [{ segments: { "topology.csi.ublk.io/node": "node-b" } }], preferred: [] };

  test.each<[string, object, string, string]>([
    ["no name", { name: "" }, "INVALID_ARGUMENT", "name is required"],
    ["a name of 129 bytes in 65 characters", { name: `${"ü".repeat(64)}x` }, "INVALID_ARGUMENT", "name has 129 bytes"],
    ["a control character", { name: "a\u0000b" }, "INVALID_ARGUMENT", "control character U+0000"],
    ["no capabilities", { volumeCapabilities: [] }, "INVALID_ARGUMENT", "volume_capabilities is empty"],
    ["no access type", { volumeCapabilities: [{ accessMode }] }, "INVALID_ARGUMENT", "has no access_type"],
    ["no access mode", { volumeCapabilities: [withMode(Mode.UNKNOWN)] }, "INVALID_ARGUMENT", "has no access_mode"],
    [
      "an access mode for many nodes",
      { volumeCapabilities: [withMode(Mode.MULTI_NODE_MULTI_WRITER)] },
      "INVALID_ARGUMENT",
      "access mode MULTI_NODE_MULTI_WRITER is not supported",
    ],
    [
      "an unknown file system",
      { volumeCapabilities: [withMount({ fsType: "ntfs" })] },
      "INVALID_ARGUMENT",
      'file system type "ntfs" is not supported, allowed is one of: ext4, xfs, btrfs',
    ],
    [
      "a mount option hidden behind another",
      { volumeCapabilities: [withMount({ mountFlags: ["ro,loop"] })] },
      "INVALID_ARGUMENT",
      'mount option "loop" is not allowed for ext4: it would change what is mounted, leave it out',
    ],
    [
      "a mount group",
      { volumeCapabilities: [withMount({ volumeMountGroup: "staff" })] },
      "INVALID_ARGUMENT",
      "must be the number of a group",
    ],
    ["size 0", { capacityRange: { requiredBytes: 0n, limitBytes: 0n } }, "INVALID_ARGUMENT", "a size of 0 bytes"],
    ["a negative size", { capacityRange: { requiredBytes: -1n, limitBytes: 0n } }, "INVALID_ARGUMENT", "is -1"],
    [
      "a huge size",
      { capacityRange: { requiredBytes: 2n ** 63n - 1n, limitBytes: 0n } },
      "OUT_OF_RANGE",
      "the largest possible is 9223372036854771712",
    ],
    [
      "a size beyond the pool",
      { capacityRange: { requiredBytes: 2n ** 60n, limitBytes: 0n } },
      "RESOURCE_EXHAUSTED",
      "1152921504606846976 were asked for",
    ],
    [
      "no multiple of the block in the range",
      { capacityRange: { requiredBytes: 2097153n, limitBytes: 2097153n } },
      "OUT_OF_RANGE",
      "a multiple of the logical block of 512",
    ],
    ["an unknown parameter", { parameters: { raid: "5" } }, "INVALID_ARGUMENT", 'parameter "raid" is unknown'],
    ["an unknown pool", { parameters: { pool: "gold" } }, "INVALID_ARGUMENT", 'parameter pool is "gold"'],
    ["parameters of 5000 bytes", { parameters: { pool: "x".repeat(5000) } }, "INVALID_ARGUMENT", "parameters has 5004"],
    ["an unknown mutable parameter", { mutableParameters: { a: "1" } }, "INVALID_ARGUMENT", 'mutable parameter "a"'],
    ["a limit out of bounds", { mutableParameters: { iops: "1" } }, "INVALID_ARGUMENT", "operations from 10 to"],
    [
      "a source that does not exist",
      { volumeContentSource: { type: { $case: "volume", value: { volumeId: "x" } } } },
      "NOT_FOUND",
      'volume "x" does not exist on this node',
    ],
    ["a source without type", { volumeContentSource: {} }, "INVALID_ARGUMENT", "volume_content_source has no type"],
    ["another node", { accessibilityRequirements: elsewhere }, "RESOURCE_EXHAUSTED", "no requisite topology is this"],
  ])("refuses %s and makes nothing", async (_case, change, code, text) => {
    const outcome = await client.call(rpcs.createVolume, { ...good, ...change });
    expect(outcome).toMatchObject({ code, message: expect.stringContaining(text) });
    expect(outcome.message).not.toContain("\n");
    expect((await client.call(rpcs.listVolumes, {})).response?.entries).toEqual([]);
  });

  test("refuses the same name with another size", async () => {
    await createVolume();
    const capacityRange = { requiredBytes: gibibyte, limitBytes: 0n };
    const request = { name: "data", capacityRange, volumeCapabilities: [mountCapability] };
    expect((await client.call(rpcs.createVolume, request)).code).toBe("ALREADY_EXISTS");
  });

  test("twice at the same time makes one volume", async () => {
    const [left, right] = await Promise.all([createVolume(), createVolume()]);
    expect(left.volumeId).toBe(right.volumeId);
    expect((await client.call(rpcs.listVolumes, {})).response?.entries).toHaveLength(1);
  });
});

describe("snapshots", () => {
  async function createSnapshot(sourceVolumeId: string, name = "snap"): Promise<Snapshot> {
    const { code, message, response } = await client.call(rpcs.createSnapshot, { sourceVolumeId, name });
    expect({ code, message }).toEqual({ code: "OK", message: "" });
    if (response?.snapshot === undefined) throw new Error("CreateSnapshot answered without a snapshot");
    return response.snapshot;
  }

  const listIds = async (request: object) =>
    (await client.call(rpcs.listSnapshots, request)).response?.entries.map((entry) => entry.snapshot?.snapshotId);

  test("have size, source, instant and topology", async () => {
    const { volumeId } = await createVolume();
    const snapshot = await createSnapshot(volumeId);
    expect(snapshot).toMatchObject({ sizeBytes: 2n * mebibyte, sourceVolumeId: volumeId, readyToUse: true });
    expect(snapshot.groupSnapshotId).toBe("");
    expect(Math.abs(Date.now() - (snapshot.creationTime?.getTime() ?? 0))).toBeLessThan(60_000);
    expect(snapshot.accessibleTopology).toEqual([{ segments: { "topology.csi.ublk.io/node": "node-a" } }]);
    expect((await client.call(rpcs.getSnapshot, { snapshotId: snapshot.snapshotId })).response).toEqual({ snapshot });
  });

  test.each([
    ["this node's", "node-a", "OK"],
    ["another node's", "node-b", "RESOURCE_EXHAUSTED"],
  ])("that have to be usable from %s topology", async (_case, node, code) => {
    const { volumeId } = await createVolume();
    const here = { segments: { "topology.csi.ublk.io/node": node } };
    const accessibilityRequirements = { requisite: [here], preferred: [here] };
    const request = { sourceVolumeId: volumeId, name: "snap", accessibilityRequirements };
    const outcome = await client.call(rpcs.createSnapshot, request);
    expect(outcome.code).toBe(code);
    if (code === "OK") expect(outcome.response?.snapshot?.accessibleTopology).toEqual([here]);
    else expect(await listIds({})).toEqual([]);
  });

  test("are listed by page, by source and by id, and what is unknown has no entries", async () => {
    const [one, other] = [await createVolume("one"), await createVolume("other")];
    const ofOne = [await createSnapshot(one.volumeId, "s1"), await createSnapshot(one.volumeId, "s2")];
    const { snapshotId } = await createSnapshot(other.volumeId, "s3");
    const all = [...ofOne.map((snapshot) => snapshot.snapshotId), snapshotId].sort();
    expect(await listIds({})).toEqual(all);
    const first = (await client.call(rpcs.listSnapshots, { maxEntries: 2 })).response;
    await client.call(rpcs.deleteSnapshot, { snapshotId: all[1] ?? "" });
    expect(await listIds({ startingToken: first?.nextToken ?? "" })).toEqual(all.slice(2));
    expect(await listIds({ snapshotId })).toEqual(
      all.includes(snapshotId) && all[1] !== snapshotId ? [snapshotId] : [],
    );
    expect((await listIds({ sourceVolumeId: one.volumeId }))?.every((id) => all.includes(id ?? ""))).toBe(true);
    expect(await listIds({ sourceVolumeId: other.volumeId, snapshotId: ofOne[0]?.snapshotId })).toEqual([]);
    expect(await listIds({ sourceVolumeId: "../unknown" })).toEqual([]);
    expect((await client.call(rpcs.listSnapshots, { startingToken: "made-up" })).code).toBe("ABORTED");
  });

  test.each<[string, () => Promise<{ code: string }>, string]>([
    ["without a name", () => client.call(rpcs.createSnapshot, { sourceVolumeId: "x" }), "INVALID_ARGUMENT"],
    ["without a source", () => client.call(rpcs.createSnapshot, { name: "snap" }), "INVALID_ARGUMENT"],
    ["of a path", () => client.call(rpcs.createSnapshot, { name: "s", sourceVolumeId: "../x" }), "INVALID_ARGUMENT"],
    ["of nothing", () => client.call(rpcs.createSnapshot, { name: "s", sourceVolumeId: "x" }), "NOT_FOUND"],
    ["that is unknown, asked for", () => client.call(rpcs.getSnapshot, { snapshotId: "x" }), "NOT_FOUND"],
    ["that is unknown, deleted", () => client.call(rpcs.deleteSnapshot, { snapshotId: "x" }), "OK"],
    ["without an id, deleted", () => client.call(rpcs.deleteSnapshot, {}), "INVALID_ARGUMENT"],
    [
      "of a group without volumes",
      () => client.call(rpcs.createVolumeGroupSnapshot, { name: "g" }),
      "INVALID_ARGUMENT",
    ],
    ["of an unknown group", () => client.call(rpcs.getVolumeGroupSnapshot, { groupSnapshotId: "x" }), "NOT_FOUND"],
    ["of an unknown group, deleted", () => client.call(rpcs.deleteVolumeGroupSnapshot, { groupSnapshotId: "x" }), "OK"],
  ])("%s: the right code", async (_case, call, code) => {
    expect((await call()).code).toBe(code);
  });

  test("asked for ten times at once are one", async () => {
    const { volumeId } = await createVolume();
    const made = await Promise.all(Array.from({ length: 10 }, () => createSnapshot(volumeId)));
    expect(new Set(made.map((snapshot) => snapshot.snapshotId)).size).toBe(1);
    expect(await listIds({})).toHaveLength(1);
  });

  test("become volumes, which say where they are from", async () => {
    const { volumeId } = await createVolume();
    const { snapshotId } = await createSnapshot(volumeId);
    const contentSource = { type: { $case: "snapshot" as const, value: { snapshotId } } };
    const request = { capacityRange: range, volumeCapabilities: [mountCapability], volumeContentSource: contentSource };
    const restored = await client.call(rpcs.createVolume, { name: "restored", ...request });
    expect(restored.response?.volume).toMatchObject({ contentSource, capacityBytes: 2n * mebibyte });
    const cloneSource = { type: { $case: "volume" as const, value: { volumeId } } };
    const clone = { name: "clone", ...request, volumeContentSource: cloneSource };
    expect((await client.call(rpcs.createVolume, clone)).response?.volume).toMatchObject({
      contentSource: cloneSource,
    });
  });

  test("of a group are taken and removed together", async () => {
    const sourceVolumeIds = [(await createVolume("one")).volumeId, (await createVolume("two")).volumeId];
    const { response } = await client.call(rpcs.createVolumeGroupSnapshot, { name: "group", sourceVolumeIds });
    const group = response?.groupSnapshot;
    const groupSnapshotId = group?.groupSnapshotId ?? "";
    const snapshotIds = group?.snapshots.map((snapshot) => snapshot.snapshotId) ?? [];
    expect(group?.snapshots.map((snapshot) => snapshot.sourceVolumeId).sort()).toEqual(sourceVolumeIds.sort());
    expect(group?.snapshots.every((snapshot) => snapshot.groupSnapshotId === groupSnapshotId)).toBe(true);
    expect(group?.readyToUse).toBe(true);
    const asked = await client.call(rpcs.getVolumeGroupSnapshot, { groupSnapshotId, snapshotIds });
    expect(asked.response?.groupSnapshot).toEqual(group);
    const alone = await client.call(rpcs.deleteSnapshot, { snapshotId: snapshotIds[0] ?? "" });
    expect(alone.code).toBe("INVALID_ARGUMENT");
    const wrong = { groupSnapshotId, snapshotIds: snapshotIds.slice(1) };
    expect((await client.call(rpcs.deleteVolumeGroupSnapshot, wrong)).code).toBe("INVALID_ARGUMENT");
    expect((await client.call(rpcs.deleteVolumeGroupSnapshot, { groupSnapshotId, snapshotIds })).code).toBe("OK");
    expect(await listIds({})).toEqual([]);
  });
});

describe("volume ids from outside", () => {
  const staging = () => workspace.path("targets", "staging");
  const byRpc = (volumeId: string) => ({
    deleteVolume: client.call(rpcs.deleteVolume, { volumeId }),
    validate: client.call(rpcs.validateVolumeCapabilities, { volumeId, volumeCapabilities: [mountCapability] }),
    stage: client.call(rpcs.nodeStageVolume, {
      volumeId,
      stagingTargetPath: staging(),
      volumeCapability: mountCapability,
    }),
    unstage: client.call(rpcs.nodeUnstageVolume, { volumeId, stagingTargetPath: staging() }),
    unpublish: client.call(rpcs.nodeUnpublishVolume, { volumeId, targetPath: workspace.path("targets", "none") }),
    stats: client.call(rpcs.nodeGetVolumeStats, { volumeId, volumePath: "/target" }),
  });

  async function codesFor(volumeId: string): Promise<Record<string, string>> {
    const outcomes = Object.entries(byRpc(volumeId)).map(async ([name, call]) => [name, (await call).code] as const);
    return Object.fromEntries(await Promise.all(outcomes));
  }

  const invalid = "INVALID_ARGUMENT";
  const allInvalid = {
    deleteVolume: invalid,
    validate: invalid,
    stage: invalid,
    unstage: invalid,
    unpublish: invalid,
    stats: invalid,
  };

  test.each([
    ["empty", ""],
    ["a way up", ".."],
    ["a path", "../../etc/passwd"],
    ["of 129 bytes", "x".repeat(129)],
    ["with a control character", "a\u0007"],
  ])("that are %s are invalid everywhere", async (_case, volumeId) => {
    expect(await codesFor(volumeId)).toEqual(allInvalid);
  });

  test.each([
    ["of 128 bytes", "x".repeat(128)],
    ["in capitals", "SANITY-0815"],
    ["that look like ours", "00000000-0000-0000-0000-000000000000"],
  ])("%s are unknown: to remove them is a success", async (_case, volumeId) => {
    const missing = "NOT_FOUND";
    expect(await codesFor(volumeId)).toEqual({
      deleteVolume: "OK",
      validate: missing,
      stage: missing,
      unstage: "OK",
      unpublish: "OK",
      stats: missing,
    });
  });
});

describe("ValidateVolumeCapabilities", () => {
  test("confirms what the volume was made for, and explains what it does not have", async () => {
    const { volumeId } = await createVolume();
    const ask = (capability: ProtoCapability) =>
      client.call(rpcs.validateVolumeCapabilities, { volumeId, volumeCapabilities: [capability] });
    expect((await ask(mountCapability)).response?.confirmed?.volumeCapabilities).toEqual([mountCapability]);
    const block = (await ask(blockCapability)).response;
    expect(block?.confirmed).toBeUndefined();
    expect(block?.message).toMatch(/was made for a file system of type ext4, not for block access/);
    const many = (await ask({ ...mountCapability, accessMode: { mode: Mode.MULTI_NODE_READER_ONLY } })).response;
    expect(many).toMatchObject({ confirmed: undefined, message: expect.stringContaining("MULTI_NODE_READER_ONLY") });
  });

  test("needs capabilities", async () => {
    const { volumeId } = await createVolume();
    expect((await client.call(rpcs.validateVolumeCapabilities, { volumeId })).code).toBe("INVALID_ARGUMENT");
  });
});

describe("ListVolumes", () => {
  test("pages through all volumes, even when the one named by the token is deleted", async () => {
    const ids = [await createVolume("a"), await createVolume("b"), await createVolume("c")].map(
      (volume) => volume.volumeId,
    );
    const first = (await client.call(rpcs.listVolumes, { maxEntries: 2 })).response;
    const firstIds = first?.entries.map((entry) => entry.volume?.volumeId) ?? [];
    await client.call(rpcs.deleteVolume, { volumeId: firstIds[1] ?? "" });
    const second = (await client.call(rpcs.listVolumes, { startingToken: first?.nextToken ?? "" })).response;
    const secondIds = second?.entries.map((entry) => entry.volume?.volumeId);
    expect([...firstIds, ...(secondIds ?? [])].sort()).toEqual(ids.sort());
    expect(second?.nextToken).toBe("");
  });

  test.each([
    ["made up", "invalid-token"],
    ["not an id", "after:../.."],
  ])("a token %s is ABORTED", async (_case, token) => {
    expect((await client.call(rpcs.listVolumes, { startingToken: token })).code).toBe("ABORTED");
  });

  test("a negative number of entries is invalid", async () => {
    expect((await client.call(rpcs.listVolumes, { maxEntries: -1 })).code).toBe("INVALID_ARGUMENT");
  });
});

describe("ControllerExpandVolume", () => {
  const expand = (volumeId: string, requiredBytes: bigint, limitBytes = 0n) =>
    client.call(rpcs.controllerExpandVolume, { volumeId, capacityRange: { requiredBytes, limitBytes } });

  test("answers the exact size, and asks the node for the file system's part", async () => {
    const { volumeId } = await createVolume();
    const answer = { capacityBytes: 3n * mebibyte, nodeExpansionRequired: true };
    expect((await expand(volumeId, 3n * mebibyte)).response).toEqual(answer);
    expect((await client.call(rpcs.controllerGetVolume, { volumeId })).response?.volume?.capacityBytes).toBe(
      3n * mebibyte,
    );
  });

  test("refuses what makes no sense with the specification's codes", async () => {
    const { volumeId } = await createVolume();
    const codes = [
      await client.call(rpcs.controllerExpandVolume, { volumeId }),
      await expand("", mebibyte),
      await expand("none", mebibyte),
      await expand(volumeId, 0n, mebibyte),
      await expand(volumeId, 2n ** 60n),
    ].map(({ code }) => code);
    expect(codes).toEqual(["INVALID_ARGUMENT", "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE", "RESOURCE_EXHAUSTED"]);
  });

  test("is offered offline only where the kernel cannot grow devices in use, and then refuses those", async () => {
    workspace.blockDevices.onlineResize = false;
    const { response } = await client.call(rpcs.getPluginCapabilities, {});
    expect(response?.capabilities.at(-1)?.type).toMatchObject({ $case: "volumeExpansion", value: { type: 2 } });
    const { volumeId } = await createVolume();
    const stagingTargetPath = await workspace.makeDirectory("targets", "staging");
    await client.call(rpcs.nodeStageVolume, { volumeId, stagingTargetPath, volumeCapability: mountCapability });
    expect((await expand(volumeId, 3n * mebibyte)).code).toBe("FAILED_PRECONDITION");
  });
});

describe("ControllerModifyVolume", () => {
  const modify = (volumeId: string, mutableParameters: Record<string, string>) =>
    client.call(rpcs.controllerModifyVolume, { volumeId, mutableParameters });

  test("gives limits to the device of a volume in use, and is a success when it is repeated", async () => {
    const { volumeId } = await createVolume();
    const stagingTargetPath = await workspace.makeDirectory("targets", "staging");
    await client.call(rpcs.nodeStageVolume, { volumeId, stagingTargetPath, volumeCapability: mountCapability });
    for (let round = 0; round < 2; round++) {
      expect((await modify(volumeId, { iops: "500", bandwidth: "10Mi" })).code).toBe("OK");
    }
    expect(workspace.blockDevices.limits.get(volumeId)).toEqual({ iops: 500, bytesPerSecond: 10 * 1024 ** 2 });
  });

  test("refuses what makes no sense", async () => {
    const { volumeId } = await createVolume();
    const codes = [
      await modify("", { iops: "500" }),
      await modify("none", { iops: "500" }),
      await modify(volumeId, {}),
      await modify(volumeId, { colour: "red" }),
      await modify(volumeId, { iops: "-1" }),
    ].map(({ code }) => code);
    expect(codes).toEqual(["INVALID_ARGUMENT", "NOT_FOUND", ...Array(3).fill("INVALID_ARGUMENT")]);
  });

  test("what was chosen at creation is part of the request", async () => {
    const request = { name: "data", volumeCapabilities: [mountCapability], mutableParameters: { iops: "500" } };
    expect((await client.call(rpcs.createVolume, request)).code).toBe("OK");
    expect((await client.call(rpcs.createVolume, request)).code).toBe("OK");
    const other = { ...request, mutableParameters: { iops: "600" } };
    expect((await client.call(rpcs.createVolume, other)).code).toBe("ALREADY_EXISTS");
  });
});

describe("ControllerGetVolume", () => {
  test("answers what CreateVolume answered, published to no node by the controller", async () => {
    const volume = await createVolume();
    const { response } = await client.call(rpcs.controllerGetVolume, { volumeId: volume.volumeId });
    expect(response).toEqual({ volume, status: { publishedNodeIds: [] } });
  });

  test.each([
    ["", "INVALID_ARGUMENT"],
    ["none", "NOT_FOUND"],
  ])("of the volume %j is %s", async (volumeId, code) => {
    expect((await client.call(rpcs.controllerGetVolume, { volumeId })).code).toBe(code);
  });
});

describe("GetCapacity", () => {
  const capacityOf = async (request: object) =>
    (await client.call(rpcs.getCapacity, request)).response?.availableCapacity;

  test("is the pool's, with the same maximum for one volume", async () => {
    const { response } = await client.call(rpcs.getCapacity, { parameters: { pool: "memory" } });
    expect(response).toMatchObject({ availableCapacity: 64n * mebibyte, maximumVolumeSize: 64n * mebibyte });
    expect(response?.minimumVolumeSize).toBe(mebibyte);
  });

  test("is 0 on another node and in a pool that this node lacks", async () => {
    const accessibleTopology = { segments: { "topology.csi.ublk.io/node": "node-b" } };
    expect(await capacityOf({ accessibleTopology, parameters: { pool: "memory" } })).toBe(0n);
    expect(await capacityOf({ parameters: { pool: "gold" } })).toBe(0n);
  });

  test("refuses a bad parameter", async () => {
    const outcome = await client.call(rpcs.getCapacity, { parameters: { provisioning: "fat" } });
    expect(outcome.code).toBe("INVALID_ARGUMENT");
  });
});

test("NodeGetInfo has id, limit and topology", async () => {
  expect((await client.call(rpcs.nodeGetInfo, {})).response).toEqual({
    nodeId: "node-a",
    maxVolumesPerNode: 7n,
    accessibleTopology: { segments: { "topology.csi.ublk.io/node": "node-a" } },
  });
});

describe("paths from outside", () => {
  test.each([
    ["relative", "some/path"],
    ["with a way up", "/var/../etc"],
    ["outside of kubelet's directory", "/etc"],
    ["empty", ""],
  ])("that are %s are invalid for staging, publishing and their opposites", async (_case, path) => {
    const { volumeId } = await createVolume();
    const volumeCapability = mountCapability;
    const codes = await Promise.all([
      client.call(rpcs.nodeStageVolume, { volumeId, stagingTargetPath: path, volumeCapability }),
      client.call(rpcs.nodeUnstageVolume, { volumeId, stagingTargetPath: path }),
      client.call(rpcs.nodePublishVolume, {
        volumeId,
        stagingTargetPath: workspace.path("targets", "s"),
        targetPath: path,
        volumeCapability,
      }),
      client.call(rpcs.nodeUnpublishVolume, { volumeId, targetPath: path }),
    ]);
    expect(codes.map((outcome) => outcome.code)).toEqual(Array(4).fill("INVALID_ARGUMENT"));
  });

  test("may be as long as kubelet's", async () => {
    const targetPath = `${workspace.path("targets")}/${"x".repeat(200)}`;
    expect((await client.call(rpcs.nodeUnpublishVolume, { volumeId: "x", targetPath })).code).toBe("OK");
  });
});

describe("a volume's whole life", () => {
  test.each<[string, ProtoCapability]>([
    ["mount", mountCapability],
    ["block", blockCapability],
  ])("through the socket, for %s access, each step done twice", async (_access, volumeCapability) => {
    const { volumeId } = await createVolume("life", volumeCapability);
    const stagingTargetPath = await workspace.makeDirectory("targets", "staging");
    const targetPath = workspace.path("targets", "target");
    const staged = { volumeId, stagingTargetPath, volumeCapability };
    const steps = [
      () => client.call(rpcs.nodeStageVolume, staged),
      () => client.call(rpcs.nodePublishVolume, { ...staged, targetPath }),
      () => client.call(rpcs.nodeGetVolumeStats, { volumeId, volumePath: targetPath }),
      () => client.call(rpcs.nodeUnpublishVolume, { volumeId, targetPath }),
      () => client.call(rpcs.nodeUnstageVolume, { volumeId, stagingTargetPath }),
      () => client.call(rpcs.deleteVolume, { volumeId }),
    ];
    for (const step of steps.flatMap((each) => [each, each])) {
      expect(await step()).toMatchObject({ code: "OK", message: "" });
    }
    expect(workspace.mounter.entries).toEqual([]);
    expect(await workspace.blockDevices.list()).toEqual([]);
    expect(workspace.pools.listVolumes()).toEqual([]);
  });

  test("a volume that is staged cannot be deleted", async () => {
    const { volumeId } = await createVolume();
    const stagingTargetPath = await workspace.makeDirectory("targets", "staging");
    await client.call(rpcs.nodeStageVolume, { volumeId, stagingTargetPath, volumeCapability: mountCapability });
    expect((await client.call(rpcs.deleteVolume, { volumeId })).code).toBe("FAILED_PRECONDITION");
  });

  test("publishing without a staging path is FAILED_PRECONDITION", async () => {
    const { volumeId } = await createVolume();
    const targetPath = workspace.path("targets", "target");
    const request = { volumeId, targetPath, volumeCapability: mountCapability };
    expect((await client.call(rpcs.nodePublishVolume, request)).code).toBe("FAILED_PRECONDITION");
  });
});

test("stats of a raw block volume have its size, of a mounted one bytes and inodes", async () => {
  const { volumeId } = await createVolume("raw", blockCapability);
  const staged = { volumeId, stagingTargetPath: workspace.path("targets", "s"), volumeCapability: blockCapability };
  const targetPath = workspace.path("targets", "raw");
  await client.call(rpcs.nodeStageVolume, staged);
  await client.call(rpcs.nodePublishVolume, { ...staged, targetPath });
  const { response } = await client.call(rpcs.nodeGetVolumeStats, { volumeId, volumePath: targetPath });
  expect(response?.usage).toEqual([{ unit: 1, total: 2n * mebibyte, used: 2n * mebibyte, available: 0n }]);
});

describe("volume health", () => {
  test("of a volume that is well is there, with an empty list", async () => {
    const { volumeId } = await createVolume();
    const healthy = { volumeHealth: { volumeId, healthStatuses: [] } };
    expect((await client.call(rpcs.controllerGetVolumeHealth, { volumeId })).response).toEqual(healthy);
    expect((await client.call(rpcs.nodeGetVolumeHealth, { volumeId })).response).toEqual(healthy);
    expect((await client.call(rpcs.controllerListVolumeHealth, {})).response).toEqual({ entries: [], nextToken: "" });
    expect((await client.call(rpcs.nodeGetStorageHealth, {})).response).toEqual({ backendHealth: [] });
  });

  test("of volumes whose bytes are gone is told by all, a page at a time", async () => {
    const ids = [await createVolume("a"), await createVolume("b")].map(({ volumeId }) => volumeId).sort();
    for (const id of ids) await rm(workspace.path("disk/volumes", id, "image"));
    const toHealth = (volumeId: string | undefined) => ({
      volumeId,
      healthStatuses: [{ status: 3, reason: "ImageLost", message: expect.stringContaining("image is missing") }],
    });
    const [volumeId = ""] = ids;
    const lost = { volumeHealth: toHealth(volumeId) };
    expect((await client.call(rpcs.controllerGetVolumeHealth, { volumeId })).response).toEqual(lost);
    expect((await client.call(rpcs.nodeGetVolumeHealth, { volumeId })).response).toEqual(lost);
    const first = (await client.call(rpcs.controllerListVolumeHealth, { maxEntries: 1 })).response;
    expect(first?.entries).toEqual([toHealth(ids[0])]);
    const request = { startingToken: first?.nextToken ?? "" };
    const second = (await client.call(rpcs.controllerListVolumeHealth, request)).response;
    expect(second).toEqual({ entries: [toHealth(ids[1])], nextToken: "" });
  });

  test("of a pool that is gone is told by the node", async () => {
    await rename(workspace.path("disk"), workspace.path("elsewhere"));
    const { response } = await client.call(rpcs.nodeGetStorageHealth, {});
    expect(response?.backendHealth).toMatchObject([{ status: 2, reason: "PoolUnavailable" }]);
  });

  test("needs the id of a volume that exists", async () => {
    for (const method of [rpcs.controllerGetVolumeHealth, rpcs.nodeGetVolumeHealth]) {
      const ask = (volumeId: string) => client.call(method as typeof rpcs.controllerGetVolumeHealth, { volumeId });
      expect(await ask("")).toMatchObject({ code: "INVALID_ARGUMENT" });
      expect(await ask("no-such-volume")).toMatchObject({ code: "NOT_FOUND" });
    }
  });

  test("lists no page after a token that was not given", async () => {
    const request = { startingToken: "made-up" };
    expect(await client.call(rpcs.controllerListVolumeHealth, request)).toMatchObject({ code: "ABORTED" });
    const negative = { maxEntries: -1 };
    expect(await client.call(rpcs.controllerListVolumeHealth, negative)).toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});
