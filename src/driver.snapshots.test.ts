import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { DriverRig, mountCapability, range } from "./testing/driver-rig.js";
import { rpcs } from "./testing/rpc-client.js";
import { mebibyte } from "./testing/workspace.js";

let rig: DriverRig;

beforeEach(async () => {
  rig = await DriverRig.start();
});

afterEach(() => rig.remove());

describe("snapshots", () => {
  const listIds = async (request: object) =>
    (await rig.client.call(rpcs.listSnapshots, request)).response?.entries.map((entry) => entry.snapshot?.snapshotId);

  test("have size, source, instant and topology", async () => {
    const { volumeId } = await rig.createVolume();
    const snapshot = await rig.createSnapshot(volumeId);
    expect(snapshot).toMatchObject({ sizeBytes: 2n * mebibyte, sourceVolumeId: volumeId, readyToUse: true });
    expect(snapshot.groupSnapshotId).toBe("");
    expect(Math.abs(Date.now() - (snapshot.creationTime?.getTime() ?? 0))).toBeLessThan(60_000);
    expect(snapshot.accessibleTopology).toEqual([{ segments: { "topology.csi.ublk.io/node": "node-a" } }]);
    expect((await rig.client.call(rpcs.getSnapshot, { snapshotId: snapshot.snapshotId })).response).toEqual({
      snapshot,
    });
  });

  test.each([
    ["this node's", "node-a", "OK"],
    ["another node's", "node-b", "RESOURCE_EXHAUSTED"],
  ])("that have to be usable from %s topology", async (_case, node, code) => {
    const { volumeId } = await rig.createVolume();
    const here = { segments: { "topology.csi.ublk.io/node": node } };
    const accessibilityRequirements = { requisite: [here], preferred: [here] };
    const request = { sourceVolumeId: volumeId, name: "snap", accessibilityRequirements };
    const outcome = await rig.client.call(rpcs.createSnapshot, request);
    expect(outcome.code).toBe(code);
    if (code === "OK") expect(outcome.response?.snapshot?.accessibleTopology).toEqual([here]);
    else expect(await listIds({})).toEqual([]);
  });

  test("are listed by page, by source and by id, and what is unknown has no entries", async () => {
    const [one, other] = [await rig.createVolume("one"), await rig.createVolume("other")];
    const ofOne = [await rig.createSnapshot(one.volumeId, "s1"), await rig.createSnapshot(one.volumeId, "s2")];
    const { snapshotId } = await rig.createSnapshot(other.volumeId, "s3");
    const all = [...ofOne.map((snapshot) => snapshot.snapshotId), snapshotId].sort();
    expect(await listIds({})).toEqual(all);
    const first = (await rig.client.call(rpcs.listSnapshots, { maxEntries: 2 })).response;
    await rig.client.call(rpcs.deleteSnapshot, { snapshotId: all[1] ?? "" });
    expect(await listIds({ startingToken: first?.nextToken ?? "" })).toEqual(all.slice(2));
    expect(await listIds({ snapshotId })).toEqual(
      all.includes(snapshotId) && all[1] !== snapshotId ? [snapshotId] : [],
    );
    expect((await listIds({ sourceVolumeId: one.volumeId }))?.every((id) => all.includes(id ?? ""))).toBe(true);
    expect(await listIds({ sourceVolumeId: other.volumeId, snapshotId: ofOne[0]?.snapshotId })).toEqual([]);
    expect(await listIds({ sourceVolumeId: "../unknown" })).toEqual([]);
    expect((await rig.client.call(rpcs.listSnapshots, { startingToken: "made-up" })).code).toBe("ABORTED");
  });

  test.each<[string, () => Promise<{ code: string }>, string]>([
    ["without a name", () => rig.client.call(rpcs.createSnapshot, { sourceVolumeId: "x" }), "INVALID_ARGUMENT"],
    ["without a source", () => rig.client.call(rpcs.createSnapshot, { name: "snap" }), "INVALID_ARGUMENT"],
    [
      "of a path",
      () => rig.client.call(rpcs.createSnapshot, { name: "s", sourceVolumeId: "../x" }),
      "INVALID_ARGUMENT",
    ],
    ["of nothing", () => rig.client.call(rpcs.createSnapshot, { name: "s", sourceVolumeId: "x" }), "NOT_FOUND"],
    ["that is unknown, asked for", () => rig.client.call(rpcs.getSnapshot, { snapshotId: "x" }), "NOT_FOUND"],
    ["that is unknown, deleted", () => rig.client.call(rpcs.deleteSnapshot, { snapshotId: "x" }), "OK"],
    ["without an id, deleted", () => rig.client.call(rpcs.deleteSnapshot, {}), "INVALID_ARGUMENT"],
    [
      "of a group without volumes",
      () => rig.client.call(rpcs.createVolumeGroupSnapshot, { name: "g" }),
      "INVALID_ARGUMENT",
    ],
    ["of an unknown group", () => rig.client.call(rpcs.getVolumeGroupSnapshot, { groupSnapshotId: "x" }), "NOT_FOUND"],
    [
      "of an unknown group, deleted",
      () => rig.client.call(rpcs.deleteVolumeGroupSnapshot, { groupSnapshotId: "x" }),
      "OK",
    ],
  ])("%s: the right code", async (_case, call, code) => {
    expect((await call()).code).toBe(code);
  });

  test("asked for ten times at once are one", async () => {
    const { volumeId } = await rig.createVolume();
    const made = await Promise.all(Array.from({ length: 10 }, () => rig.createSnapshot(volumeId)));
    expect(new Set(made.map((snapshot) => snapshot.snapshotId)).size).toBe(1);
    expect(await listIds({})).toHaveLength(1);
  });

  test("become volumes, which say where they are from", async () => {
    const { volumeId } = await rig.createVolume();
    const { snapshotId } = await rig.createSnapshot(volumeId);
    const contentSource = { type: { $case: "snapshot" as const, value: { snapshotId } } };
    const request = { capacityRange: range, volumeCapabilities: [mountCapability], volumeContentSource: contentSource };
    const restored = await rig.client.call(rpcs.createVolume, { name: "restored", ...request });
    expect(restored.response?.volume).toMatchObject({ contentSource, capacityBytes: 2n * mebibyte });
    const cloneSource = { type: { $case: "volume" as const, value: { volumeId } } };
    const clone = { name: "clone", ...request, volumeContentSource: cloneSource };
    expect((await rig.client.call(rpcs.createVolume, clone)).response?.volume).toMatchObject({
      contentSource: cloneSource,
    });
  });

  test("of a group are taken and removed together", async () => {
    const sourceVolumeIds = [(await rig.createVolume("one")).volumeId, (await rig.createVolume("two")).volumeId];
    const { response } = await rig.client.call(rpcs.createVolumeGroupSnapshot, { name: "group", sourceVolumeIds });
    const group = response?.groupSnapshot;
    const groupSnapshotId = group?.groupSnapshotId ?? "";
    const snapshotIds = group?.snapshots.map((snapshot) => snapshot.snapshotId) ?? [];
    expect(group?.snapshots.map((snapshot) => snapshot.sourceVolumeId).sort()).toEqual(sourceVolumeIds.sort());
    expect(group?.snapshots.every((snapshot) => snapshot.groupSnapshotId === groupSnapshotId)).toBe(true);
    expect(group?.readyToUse).toBe(true);
    const asked = await rig.client.call(rpcs.getVolumeGroupSnapshot, { groupSnapshotId, snapshotIds });
    expect(asked.response?.groupSnapshot).toEqual(group);
    const alone = await rig.client.call(rpcs.deleteSnapshot, { snapshotId: snapshotIds[0] ?? "" });
    expect(alone.code).toBe("INVALID_ARGUMENT");
    const wrong = { groupSnapshotId, snapshotIds: snapshotIds.slice(1) };
    expect((await rig.client.call(rpcs.deleteVolumeGroupSnapshot, wrong)).code).toBe("INVALID_ARGUMENT");
    expect((await rig.client.call(rpcs.deleteVolumeGroupSnapshot, { groupSnapshotId, snapshotIds })).code).toBe("OK");
    expect(await listIds({})).toEqual([]);
  });
});
