import { rename } from "node:fs/promises";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { defaultEphemeralRules } from "../pools/parameters/ephemeral-rules.js";
import type { PoolState } from "../pools/pool/pool-watch.js";
import { EphemeralProvisioner } from "../pools/provisioning/ephemeral-provisioner.js";
import { toProtoStorageHealth } from "../rpc/health.js";
import { blockCapability, mebibyte, mountCapability, Workspace } from "../testing/workspace.js";
import type { StorageFinding } from "./finding.js";
import { IoErrorHistory } from "./io-error-history.js";
import { checkStorage } from "./storage-health.js";
import { VolumeHealth } from "./volume-health.js";

let workspace: Workspace;
let ioErrors: IoErrorHistory;
let states: PoolState[];

beforeEach(async () => {
  workspace = await Workspace.create();
  ioErrors = new IoErrorHistory(workspace.blockDevices);
  states = [];
});
afterEach(() => workspace.remove());

const check = (): Promise<StorageFinding[]> => checkStorage({ ...parts(), poolWatch: { readStates: () => states } });

const parts = () => ({ pools: workspace.pools, blockDevices: workspace.blockDevices, ioErrors });

async function createVolume(pool: string): Promise<string> {
  const range = { requiredBytes: 2n * mebibyte };
  const request = { name: `in-${pool}`, range, capabilities: [blockCapability], parameters: { pool } };
  return (await workspace.provisioner.create(request)).id;
}

async function createInline(pool: string): Promise<string> {
  const rules = { ...defaultEphemeralRules, poolNames: [pool] };
  const volumeId = `csi-${"a".repeat(64)}`;
  const pod = { podUid: "uid", podName: "web", podNamespace: "shop", targetPath: "/target" };
  const claim = { ...pod, attributes: { pool, size: "64Mi" } };
  const order = { volumeId, capability: { ...mountCapability, accessType: "mount" as const, mountFlags: [] }, claim };
  return (await new EphemeralProvisioner(workspace.pools, rules).create(order)).volume.id;
}

/** Listeners hear of it in microtasks. */
async function refuseBlock(volumeId: string): Promise<void> {
  const request = { operation: "write", offsetBytes: 0n, lengthBytes: 4096 };
  workspace.blockDevices.events.emit({ kind: "io-error", volumeId, deviceId: 0, errnoName: "ENOSPC", ...request });
}

function stateOf(pool: string, level: PoolState["level"]): PoolState {
  const space = { sizeBytes: 1000n, freeBytes: 40n, bookedBytes: 500n, demandBytes: 300n };
  return { pool, level, usedPercent: 96, ...space };
}

test("a pool whose volumes may want more than it has is told once it is critically full", async () => {
  states = [stateOf("disk", "critical"), stateOf("memory", "warning")];
  const message =
    "pool disk is 96 % full: its volumes may yet take 300 bytes, and 40 are free: " +
    "free some of it or give it more, before writes fail";
  expect(await check()).toEqual([{ status: "degraded", reason: "PoolNearlyFull", message }]);
  expect(await checkStorage(parts())).toEqual([]);
});

test("every pool that is nearly full is told", async () => {
  states = [stateOf("disk", "critical"), stateOf("memory", "critical")];
  const finding = (pool: string) => ({ reason: "PoolNearlyFull", message: expect.stringContaining(`pool ${pool} is`) });
  expect(await check()).toMatchObject([finding("disk"), finding("memory")]);
});

test("every pool that has refused a block is told, and as nothing else", async () => {
  states = [stateOf("disk", "critical"), stateOf("memory", "critical")];
  for (const pool of ["disk", "memory"]) await refuseBlock(await createVolume(pool));
  const finding = (pool: string) => ({
    status: "degraded",
    reason: "PoolOutOfSpace",
    message: `pool ${pool} is full: writes of thin volumes fail, so free some of it or give it more`,
  });
  expect(await check()).toEqual([finding("disk"), finding("memory")]);
});

test("of two pools each is told with what is wrong with it", async () => {
  states = [stateOf("disk", "critical"), stateOf("memory", "critical")];
  await refuseBlock(await createVolume("memory"));
  expect(await check()).toMatchObject([
    { reason: "PoolNearlyFull", message: expect.stringContaining("pool disk") },
    { reason: "PoolOutOfSpace", message: expect.stringContaining("pool memory") },
  ]);
});

test("a pool is full, too, when it refused a block to an inline volume, which is told of the volume as well", async () => {
  const volumeId = await createInline("memory");
  await refuseBlock(volumeId);
  const message = expect.stringContaining("pool memory is full");
  expect(await check()).toEqual([{ status: "degraded", reason: "PoolOutOfSpace", message }]);
  const health = new VolumeHealth(parts());
  expect(await health.check(volumeId)).toMatchObject([{ status: "degraded", reason: "PoolOutOfSpace" }]);
});

test("the fill of a pool that is not there is not told, and every one that is not there is", async () => {
  await refuseBlock(await createVolume("disk"));
  states = [stateOf("disk", "critical"), stateOf("memory", "critical")];
  await rename(workspace.path("disk"), workspace.path("disk-elsewhere"));
  await workspace.makeDirectory("disk");
  const gone = (pool: string) => ({
    status: "unreachable",
    message: expect.stringContaining(`pool ${pool} is no longer`),
  });
  expect(await check()).toMatchObject([gone("disk"), { reason: "PoolNearlyFull" }]);
  const memoryPath = workspace.pools.find("memory")?.directory.path ?? "";
  await rename(memoryPath, workspace.path("memory-elsewhere"));
  expect(await check()).toMatchObject([gone("disk"), gone("memory")]);
});

test("CSI hears of each reason once, with all pools in its message", async () => {
  const finding = { status: "degraded" as const, reason: "PoolNearlyFull" as const };
  const other = { status: "unreachable" as const, reason: "PoolUnavailable" as const, message: "three" };
  const findings = [{ ...finding, message: "one" }, other, { ...finding, message: "two" }];
  expect(toProtoStorageHealth(findings)).toEqual([
    { status: 1, reason: "PoolNearlyFull", message: "one; two", volumeCapability: undefined },
    { status: 2, reason: "PoolUnavailable", message: "three", volumeCapability: undefined },
  ]);
});
