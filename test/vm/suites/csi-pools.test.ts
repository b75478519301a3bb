import { mkdir, readFile, rmdir, statfs, unlink, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import {
  ControllerService,
  GetCapacityRequest,
  NodeGetStorageHealthRequest,
  NodeService,
} from "../../../src/gen/csi/csi.js";
import { createRandomFile, writeToDevice } from "./support/device-io.js";
import { runCommand, tryCommand } from "./support/run-command.js";
import { TestBed } from "./support/test-bed.js";
import type { TestVolume } from "./support/test-volume.js";
import { waitFor } from "./support/wait-for.js";

const mebibyte = 1024 ** 2;
const root = "/run/ublk-csi-pools";
const disk = `${root}/disk`;
const place = `${root}/small`;
const metricsEndpoint = "http://127.0.0.1:9810";

/** A pool on a file system of its own, small enough to be filled, whose thin volumes are promised three times its size. */
const config = `pools:
  - name: small
    kind: file
    directory: ${place}
    reserve: 32Mi
    overcommit: 3
    watermarks:
      warning: 60
      critical: 90
`;

let bed: TestBed;

beforeAll(async () => {
  await mkdir(place, { recursive: true });
  await runCommand("truncate", ["-s", String(320 * mebibyte), disk]);
  await runCommand("mkfs.ext4", ["-q", "-m", "0", disk]);
  await runCommand("mount", ["-o", "loop", disk, place]);
  const configPath = `${root}/config.yaml`;
  await writeFile(configPath, config);
  bed = await TestBed.start("pools", { configPath, metricsEndpoint });
});
afterAll(async () => {
  await bed.dispose();
  await runCommand("umount", [place]);
  for (const file of [disk, `${root}/config.yaml`]) await unlink(file);
  for (const directory of [place, root]) await rmdir(directory);
});

async function readCapacityMebibytes(provisioning: "thick" | "thin"): Promise<number> {
  const request = GetCapacityRequest.fromPartial({ parameters: { pool: "small", provisioning } });
  const { availableCapacity } = await bed.driver.client.call(ControllerService.getCapacity, request);
  return Number(availableCapacity) / mebibyte;
}

async function start(name: string, provisioning: "thick" | "thin", sizeMebibytes: number): Promise<TestVolume> {
  const parameters = { pool: "small", provisioning };
  const volume = bed.volume({ name, sizeBytes: sizeMebibytes * mebibyte, access: { kind: "block" }, parameters });
  await volume.start();
  return volume;
}

async function readFreeMebibytes(): Promise<number> {
  const { bavail, bsize } = await statfs(place);
  return (bavail * bsize) / mebibyte;
}

/** As the metrics have it. */
async function readPoolState(): Promise<string | undefined> {
  const text = await (await fetch(`${metricsEndpoint}/metrics`)).text();
  return /^ublk_csi_pool_state\{pool="small",state="(\w+)"\} 1$/m.exec(text)?.[1];
}

/** Writes so many mebibytes from the beginning of a volume on; what dd says when it cannot. */
async function fill(volume: TestVolume, mebibytes: number): Promise<string> {
  const where = ["if=/dev/urandom", `of=${volume.targetPath}`, "bs=1M", `count=${mebibytes}`];
  return (await tryCommand("dd", [...where, "oflag=direct", "conv=notrunc,nocreat", "status=none"])).stderr;
}

test("a reserve is kept back from every volume, and over-committed thin volumes are promised more than thick ones", async () => {
  const free = await readFreeMebibytes();
  const thick = await readCapacityMebibytes("thick");
  expect(thick).toBeLessThanOrEqual(free - 32);
  expect(thick).toBeGreaterThan(free - 40);
  const thin = await readCapacityMebibytes("thin");
  expect(thin).toBeGreaterThan(2.8 * thick);
  expect(thin).toBeLessThanOrEqual(3 * thick);
});

test("a pool that runs full fails writes of thin volumes alone, says so, and gets well when one is deleted", async () => {
  const thick = await start("thick", "thick", 64);
  const [greedy, modest] = [await start("greedy", "thin", 256), await start("modest", "thin", 128)];
  expect(await fill(modest, 16)).toBe("");
  expect(await readPoolState()).toBe("normal");
  expect(await fill(greedy, 256)).toContain("No space left on device");
  await waitFor("a metric has it", async () => (await readPoolState()) === "full");
  expect(await fill(thick, 64)).toBe("");
  expect(await fill(modest, 64)).toContain("No space left on device");
  expect(await fill(modest, 16)).toBe("");
  const log = () => readFile(bed.driver.logPath, "utf8");
  await waitFor("the watermark is told", async () => (await log()).includes("critical watermark passed"));
  expect(await readCapacityMebibytes("thin")).toBe(0);

  await greedy.finish();
  expect(await fill(modest, 64)).toBe("");
  const data = await createRandomFile("/tmp/csi-pools-data", 4 * mebibyte);
  await writeToDevice(data, thick.targetPath, { direct: true });
  await runCommand("cmp", ["-n", String(4 * mebibyte), data, thick.targetPath]);
  await unlink(data);
  await waitFor("the pool is told to have room", async () => (await log()).includes("pool has room again"), {
    timeoutMs: 60_000,
  });
  for (const volume of [thick, modest]) await volume.finish();
});

test("a pool full of thick volumes is well, and is told to run full while thin ones may want more than it has", async () => {
  const isTold = async () => {
    const request = NodeGetStorageHealthRequest.fromPartial({});
    const { backendHealth } = await bed.driver.client.call(NodeService.nodeGetStorageHealth, request);
    return backendHealth.some(({ reason, message }) => reason === "PoolNearlyFull" && message.includes("pool small"));
  };
  const patience = { timeoutMs: 60_000 }; // several looks
  const thin = await start("wanting", "thin", 128);
  const room = await readCapacityMebibytes("thick");
  const thick = await start("whole", "thick", Math.floor(room));
  expect(await readFreeMebibytes()).toBeLessThan(96);
  await runCommand("fallocate", [
    "-l",
    String(Math.floor((await readFreeMebibytes()) - 16) * mebibyte),
    `${place}/other`,
  ]);
  await waitFor("the pool is told to run full", isTold, patience);
  await thin.finish();
  expect(await readFreeMebibytes()).toBeLessThan(32); // nine tenths full, as before
  await waitFor("the pool is well", async () => !(await isTold()), patience);
  await unlink(`${place}/other`);
  await thick.finish();
});
