import { writeFile } from "node:fs/promises";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { createDriver, type Driver } from "./driver.js";
import { VolumeCapability_AccessMode_Mode as Mode, type VolumeCapability } from "./gen/csi/csi.js";
import { type Outcome, RpcClient, rpcs } from "./testing/rpc-client.js";
import { mebibyte, Workspace } from "./testing/workspace.js";

const callCount = 100;
const volumeCapability: VolumeCapability = {
  accessType: { $case: "block", value: {} },
  accessMode: { mode: Mode.SINGLE_NODE_WRITER },
};

let workspace: Workspace;
let server: Driver;
let client: RpcClient;

beforeEach(async () => {
  workspace = await Workspace.create();
  const { pools, snapshots, blockDevices, mounter, filesystems, logger } = workspace;
  const parts = {
    pools,
    snapshots,
    blockDevices,
    mounter,
    filesystems,
    logger,
    checkHealth: () => pools.checkHealth(),
  };
  const settings = {
    volumeCountMax: 0n,
    kubeletDir: workspace.path("targets"),
    socketPath: workspace.path("csi.sock"),
  };
  server = createDriver({ driverName: "csi.ublk.io", version: "0.0.0", nodeId: "node-a" }, { ...parts, ...settings });
  await server.start();
  client = new RpcClient(settings.socketPath);
});

afterEach(async () => {
  client.close();
  await server.stop(1_000);
  await workspace.remove();
});

function create(name: string) {
  const capacityRange = { requiredBytes: 2n * mebibyte, limitBytes: 0n };
  const parameters = { provisioning: "thin" };
  return client.call(rpcs.createVolume, { name, capacityRange, volumeCapabilities: [volumeCapability], parameters });
}

const idOf = async (name: string) => (await create(name)).response?.volume?.volumeId ?? "";

function requestsFor(volumeId: string, name: string) {
  const stagingTargetPath = workspace.path("targets", `${name}-staging`);
  const targetPath = workspace.path("targets", name);
  const capacityRange = { requiredBytes: 3n * mebibyte, limitBytes: 0n };
  return {
    stage: () => client.call(rpcs.nodeStageVolume, { volumeId, stagingTargetPath, volumeCapability }),
    publish: () => client.call(rpcs.nodePublishVolume, { volumeId, stagingTargetPath, targetPath, volumeCapability }),
    expand: () => client.call(rpcs.controllerExpandVolume, { volumeId, capacityRange }),
    modify: () => client.call(rpcs.controllerModifyVolume, { volumeId, mutableParameters: { iops: "100" } }),
    unpublish: () => client.call(rpcs.nodeUnpublishVolume, { volumeId, targetPath }),
    unstage: () => client.call(rpcs.nodeUnstageVolume, { volumeId, stagingTargetPath }),
    remove: () => client.call(rpcs.deleteVolume, { volumeId }),
  };
}

const codesOf = (outcomes: readonly Outcome<unknown>[]) => [...new Set(outcomes.map(({ code }) => code))].sort();

test(`${callCount} equal creations at once make one volume`, async () => {
  const outcomes = await Promise.all(Array.from({ length: callCount }, () => create("data")));
  expect(codesOf(outcomes)).toEqual(["OK"]);
  expect(new Set(outcomes.map(({ response }) => response?.volume?.volumeId)).size).toBe(1);
  expect(workspace.pools.listVolumes()).toHaveLength(1);
});

test(`${callCount} calls at once on one volume leave it in one state, and usable`, async () => {
  const volumeId = await idOf("data");
  const calls = requestsFor(volumeId, "data");
  const kinds = Object.values(calls).filter((call) => call !== calls.remove);
  const outcomes = await Promise.all(
    Array.from({ length: callCount }, (_, index) => kinds[(index * 5) % kinds.length]?.()),
  );
  const codes = codesOf(outcomes.filter((outcome) => outcome !== undefined));
  // Published without a staging, unstaged while published: each is told so, and nothing else is.
  expect(["OK", "FAILED_PRECONDITION"]).toEqual(expect.arrayContaining(codes));
  for (const call of [calls.stage, calls.publish, calls.expand, calls.modify]) expect((await call()).code).toBe("OK");
  expect(workspace.mounter.entries).toHaveLength(1);
  expect(await workspace.blockDevices.list()).toMatchObject([{ sizeBytes: 3n * mebibyte }]);
  for (const call of [calls.unpublish, calls.unstage, calls.remove]) expect((await call()).code).toBe("OK");
  expect(await workspace.blockDevices.list()).toEqual([]);
});

test(`${callCount} volumes at once, each through its whole life, do not disturb each other`, async () => {
  const names = Array.from({ length: callCount }, (_, index) => `volume-${index}`);
  const lives = names.map(async (name) => {
    const { remove, unstage, unpublish, ...forward } = requestsFor(await idOf(name), name);
    const steps = [...Object.values(forward), unpublish, unstage, remove];
    const outcomes: Outcome<unknown>[] = [];
    for (const step of steps) outcomes.push(await step());
    return codesOf(outcomes);
  });
  expect(await Promise.all(lives)).toEqual(names.map(() => ["OK"]));
  expect(workspace.pools.listVolumes()).toEqual([]);
  expect(await workspace.blockDevices.list()).toEqual([]);
  expect(workspace.mounter.entries).toEqual([]);
});

test("creations at once never promise more than the pool has", async () => {
  const capacityRange = { requiredBytes: 10n * mebibyte, limitBytes: 0n };
  const request = { capacityRange, volumeCapabilities: [volumeCapability], parameters: { pool: "memory" } };
  const calls = Array.from({ length: 20 }, (_, index) =>
    client.call(rpcs.createVolume, { name: `${index}`, ...request }),
  );
  const outcomes = await Promise.all(calls);
  expect(outcomes.filter(({ code }) => code === "OK")).toHaveLength(6);
  expect(outcomes.filter(({ code }) => code === "RESOURCE_EXHAUSTED")).toHaveLength(14);
});

test("a target that cannot be used by one volume holds up no other", async () => {
  const [first, second] = [await idOf("first"), await idOf("second")];
  await writeFile(workspace.path("targets", "first"), "in the way");
  const [left, right] = [requestsFor(first, "first"), requestsFor(second, "second")];
  await Promise.all([left.stage(), right.stage()]);
  const outcomes = await Promise.all([left.publish(), right.publish()]);
  expect(outcomes.map(({ code }) => code)).toEqual(["FAILED_PRECONDITION", "OK"]);
});
