import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { DriverParts } from "../driver.js";
import { IoErrorHistory } from "../health/io-error-history.js";
import { listFullPools } from "../health/storage-health.js";
import { createSilentLogger } from "../log.js";
import { PollingPoolWatch } from "../pools/pool/pool-watch.js";
import { DriverRig, mountCapability, range } from "../testing/driver-rig.js";
import { rpcs } from "../testing/rpc-client.js";
import type { Workspace } from "../testing/workspace.js";
import { type Metrics, startMetrics } from "./start-metrics.js";

const endpoint = { host: "127.0.0.1", port: 0 };
const logger = createSilentLogger();

let metrics: Metrics;
let rig: DriverRig;
let watch: PollingPoolWatch;

beforeEach(async () => {
  metrics = await startMetrics({ endpoint, version: "1.2.3", logger });
  rig = await DriverRig.start(connect);
  await watch.check();
});
afterEach(async () => {
  await rig.remove();
  await metrics.stop();
});

/** As run-node.ts does. */
function connect({ pools, blockDevices }: Workspace): Partial<DriverParts> {
  watch = new PollingPoolWatch(pools.all, logger);
  const ioErrors = new IoErrorHistory(blockDevices);
  metrics.addPools({ pools, poolWatch: watch, listFullPools: () => listFullPools({ pools, ioErrors }) });
  return { poolWatch: watch, ioErrors, trimTotals: metrics.trimTotals, observeCall: metrics.observeCall };
}

/** Values by series, such as `ublk_csi_volumes{pool="disk",kind="inline"}`. */
async function scrape(): Promise<Record<string, number>> {
  const response = await fetch(metrics.url);
  expect(response.status).toBe(200);
  expect(response.headers.get("content-type")).toMatch(/^text\/plain; version=0\.0\.4/);
  const lines = (await response.text()).split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return Object.fromEntries(
    lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.split(" ").at(-1))]),
  );
}

/** Stages and unstages a volume that is trimmed then. */
async function stageOnce(name: string): Promise<void> {
  const parameters = { provisioning: "thin", trimAtUnstage: "true" };
  const wish = { name, capacityRange: range, volumeCapabilities: [mountCapability], parameters };
  const volumeId = (await rig.call(rpcs.createVolume, wish)).volume?.volumeId ?? "";
  const where = { volumeId, stagingTargetPath: await rig.workspace.makeDirectory("targets", name) };
  await rig.call(rpcs.nodeStageVolume, { ...where, volumeCapability: mountCapability });
  await rig.call(rpcs.nodeUnstageVolume, where);
}

const pool = (name: string, of = "disk") => `ublk_csi_pool_${name}{pool="${of}"}`;

describe("a scrape", () => {
  test("has the version, the sizes of each pool and its volumes", async () => {
    await rig.createVolume();
    await watch.check();
    const state = watch.readStates().find((each) => each.pool === "memory");
    if (state === undefined) throw new Error("the memory pool was not looked at");
    const { sizeBytes, freeBytes, bookedBytes, demandBytes } = state;
    expect(await scrape()).toMatchObject({
      [`ublk_csi_build_info{version="1.2.3",node_version="${process.version}"}`]: 1,
      'ublk_csi_volumes{pool="disk",kind="persistent"}': 1,
      'ublk_csi_volumes{pool="disk",kind="inline"}': 0,
      'ublk_csi_volumes{pool="memory",kind="persistent"}': 0,
      [pool("size_bytes", "memory")]: Number(sizeBytes),
      [pool("free_bytes", "memory")]: Number(freeBytes),
      [pool("allocated_bytes", "memory")]: Number(sizeBytes - freeBytes),
      [pool("booked_bytes", "memory")]: Number(bookedBytes),
      [pool("demand_bytes", "memory")]: Number(demandBytes),
      [pool("booked_bytes")]: 2 * 1024 ** 2,
      [pool("readable")]: 1,
    });
  });

  test("tells a pool that has refused a block from one with room", async () => {
    const of = (name: string, state: string) => `ublk_csi_pool_state{pool="${name}",state="${state}"}`;
    const { volumeId } = await rig.createVolume();
    const normal = { [of("disk", "normal")]: 1, [of("disk", "full")]: 0, [of("memory", "normal")]: 1 };
    expect(await scrape()).toMatchObject(normal);
    const request = { operation: "write", offsetBytes: 0n, lengthBytes: 4096 };
    rig.workspace.blockDevices.events.emit({
      kind: "io-error",
      volumeId,
      deviceId: 0,
      errnoName: "ENOSPC",
      ...request,
    });
    const full = { [of("disk", "normal")]: 0, [of("disk", "full")]: 1, [of("memory", "normal")]: 1 };
    expect(await scrape()).toMatchObject(full);
  });

  test("has no sizes of a pool that cannot be read any more", async () => {
    for (const each of rig.workspace.pools.all) each.readSpace = () => Promise.reject(new Error("gone"));
    await watch.check();
    const values = await scrape();
    expect(values[pool("readable")]).toBe(0);
    expect(Object.keys(values).filter((name) => /_pool_(?!readable)/.test(name))).toEqual([]);
  });

  test("counts trims, what they have brought, and those that fail", async () => {
    const trims = (name: string) => `ublk_csi_trim_${name}_total`;
    rig.workspace.filesystems.unusedBytes = 4096n;
    await stageOnce("done");
    metrics.trimTotals.reclaimedBytes += 512n;
    const done = { [trims("runs")]: 1, [trims("trimmed_bytes")]: 4096, [trims("reclaimed_bytes")]: 512 };
    expect(await scrape()).toMatchObject({ ...done, [trims("failures")]: 0 });
    rig.workspace.filesystems.failures.set("trim", new Error("not supported"));
    await stageOnce("failed");
    expect(await scrape()).toMatchObject({ ...done, [trims("failures")]: 1 });
  });

  test("counts calls by method and code, streams as well", async () => {
    await rig.client.call(rpcs.nodeGetInfo, {});
    await rig.client.call(rpcs.controllerGetVolume, { volumeId: "none" });
    await rig.client.call(rpcs.controllerGetVolume, { volumeId: "none" });
    await rig.client.read(rpcs.getMetadataAllocated, { snapshotId: "none" });
    const count = (method: string, code: string) =>
      `ublk_csi_rpc_duration_seconds_count{method="${method}",code="${code}"}`;
    expect(await scrape()).toMatchObject({
      [count("Node/NodeGetInfo", "OK")]: 1,
      [count("Controller/ControllerGetVolume", "NOT_FOUND")]: 2,
      [count("SnapshotMetadata/GetMetadataAllocated", "NOT_FOUND")]: 1,
    });
  });
});
