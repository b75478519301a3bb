import { writeFile } from "node:fs/promises";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { DriverRig, blockCapability as volumeCapability } from "./testing/driver-rig.js";
import { type Outcome, rpcs } from "./testing/rpc-client.js";
import { mebibyte } from "./testing/workspace.js";

const callCount = 100;

let rig: DriverRig;

beforeEach(async () => {
  rig = await DriverRig.start();
});

afterEach(() => rig.remove());

function create(name: string) {
  const capacityRange = { requiredBytes: 2n * mebibyte, limitBytes: 0n };
  const parameters = { provisioning: "thin" };
  return rig.client.call(rpcs.createVolume, {
    name,
    capacityRange,
    volumeCapabilities: [volumeCapability],
    parameters,
  });
}

const idOf = async (name: string) => (await create(name)).response?.volume?.volumeId ?? "";

function requestsFor(volumeId: string, name: string) {
  const stagingTargetPath = rig.workspace.path("targets", `${name}-staging`);
  const targetPath = rig.workspace.path("targets", name);
  const capacityRange = { requiredBytes: 3n * mebibyte, limitBytes: 0n };
  return {
    stage: () => rig.client.call(rpcs.nodeStageVolume, { volumeId, stagingTargetPath, volumeCapability }),
    publish: () =>
      rig.client.call(rpcs.nodePublishVolume, { volumeId, stagingTargetPath, targetPath, volumeCapability }),
    expand: () => rig.client.call(rpcs.controllerExpandVolume, { volumeId, capacityRange }),
    modify: () => rig.client.call(rpcs.controllerModifyVolume, { volumeId, mutableParameters: { iops: "100" } }),
    unpublish: () => rig.client.call(rpcs.nodeUnpublishVolume, { volumeId, targetPath }),
    unstage: () => rig.client.call(rpcs.nodeUnstageVolume, { volumeId, stagingTargetPath }),
    remove: () => rig.client.call(rpcs.deleteVolume, { volumeId }),
  };
}

const codesOf = (outcomes: readonly Outcome<unknown>[]) => [...new Set(outcomes.map(({ code }) => code))].sort();

test(`${callCount} equal creations at once make one volume`, async () => {
  const outcomes = await Promise.all(Array.from({ length: callCount }, () => create("data")));
  expect(codesOf(outcomes)).toEqual(["OK"]);
  expect(new Set(outcomes.map(({ response }) => response?.volume?.volumeId)).size).toBe(1);
  expect(rig.workspace.pools.listVolumes()).toHaveLength(1);
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
  expect(rig.workspace.mounter.entries).toHaveLength(1);
  expect(await rig.workspace.blockDevices.list()).toMatchObject([{ sizeBytes: 3n * mebibyte }]);
  for (const call of [calls.unpublish, calls.unstage, calls.remove]) expect((await call()).code).toBe("OK");
  expect(await rig.workspace.blockDevices.list()).toEqual([]);
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
  expect(rig.workspace.pools.listVolumes()).toEqual([]);
  expect(await rig.workspace.blockDevices.list()).toEqual([]);
  expect(rig.workspace.mounter.entries).toEqual([]);
});

test("creations at once never promise more than the pool has", async () => {
  const capacityRange = { requiredBytes: 10n * mebibyte, limitBytes: 0n };
  const request = { capacityRange, volumeCapabilities: [volumeCapability], parameters: { pool: "memory" } };
  const calls = Array.from({ length: 20 }, (_, index) =>
    rig.client.call(rpcs.createVolume, { name: `${index}`, ...request }),
  );
  const outcomes = await Promise.all(calls);
  expect(outcomes.filter(({ code }) => code === "OK")).toHaveLength(6);
  expect(outcomes.filter(({ code }) => code === "RESOURCE_EXHAUSTED")).toHaveLength(14);
});

test("a target that cannot be used by one volume holds up no other", async () => {
  const [first, second] = [await idOf("first"), await idOf("second")];
  await writeFile(rig.workspace.path("targets", "first"), "in the way");
  const [left, right] = [requestsFor(first, "first"), requestsFor(second, "second")];
  await Promise.all([left.stage(), right.stage()]);
  const outcomes = await Promise.all([left.publish(), right.publish()]);
  expect(outcomes.map(({ code }) => code)).toEqual(["FAILED_PRECONDITION", "OK"]);
});
