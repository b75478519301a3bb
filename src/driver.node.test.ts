import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { VolumeCapability_AccessMode_Mode as Mode, type VolumeCapability as ProtoCapability } from "./gen/csi/csi.js";
import { blockCapability, DriverRig, mount, mountCapability } from "./testing/driver-rig.js";
import { rpcs } from "./testing/rpc-client.js";
import { mebibyte } from "./testing/workspace.js";

let rig: DriverRig;

beforeEach(async () => {
  rig = await DriverRig.start();
});

afterEach(() => rig.remove());

test("NodeGetInfo has id, limit and topology", async () => {
  expect((await rig.client.call(rpcs.nodeGetInfo, {})).response).toEqual({
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
    const { volumeId } = await rig.createVolume();
    const volumeCapability = mountCapability;
    const codes = await Promise.all([
      rig.client.call(rpcs.nodeStageVolume, { volumeId, stagingTargetPath: path, volumeCapability }),
      rig.client.call(rpcs.nodeUnstageVolume, { volumeId, stagingTargetPath: path }),
      rig.client.call(rpcs.nodePublishVolume, {
        volumeId,
        stagingTargetPath: rig.workspace.path("targets", "s"),
        targetPath: path,
        volumeCapability,
      }),
      rig.client.call(rpcs.nodeUnpublishVolume, { volumeId, targetPath: path }),
    ]);
    expect(codes.map((outcome) => outcome.code)).toEqual(Array(4).fill("INVALID_ARGUMENT"));
  });

  test("may be as long as kubelet's", async () => {
    const targetPath = `${rig.workspace.path("targets")}/${"x".repeat(200)}`;
    expect((await rig.client.call(rpcs.nodeUnpublishVolume, { volumeId: "x", targetPath })).code).toBe("OK");
  });
});

describe("a volume's whole life", () => {
  test.each<[string, ProtoCapability]>([
    ["mount", mountCapability],
    ["block", blockCapability],
  ])("through the socket, for %s access, each step done twice", async (_access, volumeCapability) => {
    const { volumeId } = await rig.createVolume("life", volumeCapability);
    const stagingTargetPath = await rig.workspace.makeDirectory("targets", "staging");
    const targetPath = rig.workspace.path("targets", "target");
    const staged = { volumeId, stagingTargetPath, volumeCapability };
    const steps = [
      () => rig.client.call(rpcs.nodeStageVolume, staged),
      () => rig.client.call(rpcs.nodePublishVolume, { ...staged, targetPath }),
      () => rig.client.call(rpcs.nodeGetVolumeStats, { volumeId, volumePath: targetPath }),
      () => rig.client.call(rpcs.nodeUnpublishVolume, { volumeId, targetPath }),
      () => rig.client.call(rpcs.nodeUnstageVolume, { volumeId, stagingTargetPath }),
      () => rig.client.call(rpcs.deleteVolume, { volumeId }),
    ];
    for (const step of steps.flatMap((each) => [each, each])) {
      expect(await step()).toMatchObject({ code: "OK", message: "" });
    }
    expect(rig.workspace.mounter.entries).toEqual([]);
    expect(await rig.workspace.blockDevices.list()).toEqual([]);
    expect(rig.workspace.pools.listVolumes()).toEqual([]);
  });

  test("a volume that is staged cannot be deleted", async () => {
    const { volumeId } = await rig.createVolume();
    const stagingTargetPath = await rig.workspace.makeDirectory("targets", "staging");
    await rig.client.call(rpcs.nodeStageVolume, { volumeId, stagingTargetPath, volumeCapability: mountCapability });
    expect((await rig.client.call(rpcs.deleteVolume, { volumeId })).code).toBe("FAILED_PRECONDITION");
  });

  test("publishing without a staging path is FAILED_PRECONDITION", async () => {
    const { volumeId } = await rig.createVolume();
    const targetPath = rig.workspace.path("targets", "target");
    const request = { volumeId, targetPath, volumeCapability: mountCapability };
    expect((await rig.client.call(rpcs.nodePublishVolume, request)).code).toBe("FAILED_PRECONDITION");
  });
});

test("stats of a raw block volume have its size, of a mounted one bytes and inodes, if it answers", async () => {
  const { volumeId } = await rig.createVolume("raw", blockCapability);
  const staged = { volumeId, stagingTargetPath: rig.workspace.path("targets", "s"), volumeCapability: blockCapability };
  const targetPath = rig.workspace.path("targets", "raw");
  await rig.client.call(rpcs.nodeStageVolume, staged);
  await rig.client.call(rpcs.nodePublishVolume, { ...staged, targetPath });
  const { response } = await rig.client.call(rpcs.nodeGetVolumeStats, { volumeId, volumePath: targetPath });
  expect(response?.usage).toEqual([{ unit: 1, total: 2n * mebibyte, used: 2n * mebibyte, available: 0n }]);

  const { volumeId: mountedId } = await rig.createVolume("mounted");
  const stagingTargetPath = await rig.workspace.makeDirectory("targets", "staging");
  const mounted = { volumeId: mountedId, stagingTargetPath, volumeCapability: mountCapability };
  await rig.client.call(rpcs.nodeStageVolume, mounted);
  const readStats = () =>
    rig.client.call(rpcs.nodeGetVolumeStats, { volumeId: mountedId, volumePath: stagingTargetPath });
  expect((await readStats()).response?.usage).toEqual([
    { unit: 1, total: 100n * 4096n, used: 40n * 4096n, available: 50n * 4096n },
    { unit: 2, total: 16n, used: 11n, available: 5n },
  ]);
  rig.workspace.mounter.silentPaths.add(stagingTargetPath);
  const late = { code: "UNAVAILABLE", message: expect.stringContaining("has not answered") };
  expect(await readStats()).toMatchObject(late);
});

test.each([
  ["the access mode", Mode.SINGLE_NODE_READER_ONLY, ["rw"], "access mode SINGLE_NODE_READER_ONLY"],
  ["another mount option", Mode.SINGLE_NODE_WRITER, ["noatime,ro", "rw"], 'mount option "ro"'],
])("a mount option rw that contradicts %s is refused, and nothing is mounted", async (_case, mode, flags, text) => {
  const { volumeId } = await rig.createVolume();
  const stagingTargetPath = await rig.workspace.makeDirectory("targets", "staging");
  const volumeCapability: ProtoCapability = {
    accessMode: { mode },
    accessType: { $case: "mount", value: { ...mount, mountFlags: flags } },
  };
  const outcome = await rig.client.call(rpcs.nodeStageVolume, { volumeId, stagingTargetPath, volumeCapability });
  const message = expect.stringContaining(`"rw" contradicts ${text}: leave one of them out`);
  expect(outcome).toMatchObject({ code: "INVALID_ARGUMENT", message });
  expect(rig.workspace.mounter.entries).toEqual([]);
});

describe("an inline volume", () => {
  const context = { "csi.storage.k8s.io/ephemeral": "true", "csi.storage.k8s.io/pod.uid": "uid-1", size: "2Mi" };
  const volumeId = `csi-${"0".repeat(64)}`;

  test("is made by its publication alone, and goes with it", async () => {
    const targetPath = rig.workspace.path("targets", "mount");
    const request = { volumeId, targetPath, volumeCapability: mountCapability, volumeContext: context };
    expect(await rig.client.call(rpcs.nodePublishVolume, request)).toMatchObject({ code: "OK" });
    expect(rig.workspace.mounter.entries).toMatchObject([{ mountPoint: targetPath }]);
    expect(await rig.client.call(rpcs.nodeUnpublishVolume, { volumeId, targetPath })).toMatchObject({ code: "OK" });
    expect(rig.workspace.pools.listEphemeral()).toEqual([]);
  });

  test("is nothing that the controller's calls work on", async () => {
    const targetPath = rig.workspace.path("targets", "mount");
    const request = { volumeId, targetPath, volumeCapability: mountCapability, volumeContext: context };
    await rig.call(rpcs.nodePublishVolume, request);
    const capacityRange = { requiredBytes: 4n * mebibyte, limitBytes: 0n };
    const { client } = rig;
    const outcomes = [
      await client.call(rpcs.controllerExpandVolume, { volumeId, capacityRange }),
      await client.call(rpcs.controllerModifyVolume, { volumeId, mutableParameters: { iops: "unlimited" } }),
      await client.call(rpcs.createSnapshot, { name: "snap", sourceVolumeId: volumeId }),
      await client.call(rpcs.createVolumeGroupSnapshot, { name: "group", sourceVolumeIds: [volumeId] }),
      await client.call(rpcs.createVolume, {
        ...{ name: "clone", volumeCapabilities: [mountCapability] },
        volumeContentSource: { type: { $case: "volume", value: { volumeId } } },
      }),
      await client.call(rpcs.deleteVolume, { volumeId }),
    ];
    const message = expect.stringMatching(/is an inline volume of pod .*: it is its pod's alone/);
    expect(outcomes).toMatchObject(outcomes.map(() => ({ code: "FAILED_PRECONDITION", message })));
    expect(rig.workspace.pools.listEphemeral()).toMatchObject([{ sizeBytes: 2n * mebibyte }]);
  });

  test("is not staged", async () => {
    const paths = {
      targetPath: rig.workspace.path("targets", "mount"),
      stagingTargetPath: rig.workspace.path("targets"),
    };
    const request = { volumeId, ...paths, volumeCapability: mountCapability, volumeContext: context };
    expect(await rig.client.call(rpcs.nodePublishVolume, request)).toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});
