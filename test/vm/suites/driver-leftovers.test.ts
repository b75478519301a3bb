import { readdir, readFile, readlink } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { runCommand } from "./support/run-command.js";
import { byScale } from "./support/scale.js";
import { TestBed } from "./support/test-bed.js";
import { waitFor } from "./support/wait-for.js";

const mebibyte = 1024 ** 2;
const roundCount = byScale({ full: 5, smoke: 2 });

let bed: TestBed;

beforeAll(async () => {
  bed = await TestBed.start("leftovers");
});
afterAll(async () => await bed.dispose());

/** All that grows in a process, or on its disks, when something is forgotten. */
async function readHoldings(): Promise<string[]> {
  const process = `/proc/${bed.driver.pid}`;
  const descriptors = await Promise.all(
    (await readdir(`${process}/fd`)).map((fd) => readTarget(`${process}/fd/${fd}`)),
  );
  const maps = await readFile(`${process}/maps`, "utf8");
  return [
    ...(await readThreadNames(process)),
    // The client's connection comes and goes with its idle time.
    ...descriptors.filter((target) => !target.startsWith("socket:")),
    ...maps.split("\n").filter((line) => /\/image|ublkc|io_uring/.test(line)),
    ...(await runCommand("ps", ["--ppid", String(bed.driver.pid), "-o", "args="])).trim().split("\n"),
    ...(await listFiles(bed.poolPath)),
    ...(await listFiles(bed.stateDir)),
    ...(await readdir("/tmp")),
    `${/^VmLck:.*$/m.exec(await readFile(`${process}/status`, "utf8"))}`,
  ];
}

async function readThreadNames(process: string): Promise<string[]> {
  const tasks = await readdir(`${process}/task`);
  return (await Promise.all(tasks.map((id) => readFile(`${process}/task/${id}/comm`, "utf8")))).sort();
}

/** Counted: two of a kind where there was one are one too many. */
function findMore(now: string[], before: string[]): string[] {
  const rest = [...before];
  return now.filter((item) => {
    const index = rest.indexOf(item);
    if (index >= 0) rest.splice(index, 1);
    return index < 0;
  });
}

const readTarget = (path: string) => readlink(path).catch(() => "");
const listFiles = async (directory: string) => (await readdir(directory, { recursive: true })).sort();

async function liveOnce(round: string): Promise<void> {
  for (const pool of ["disk", "memory"]) {
    const mounted = bed.volume({
      name: `mounted-${pool}-${round}`,
      sizeBytes: 32 * mebibyte,
      access: { kind: "mount", fsType: "ext4" },
      parameters: { pool, queues: "2" },
    });
    await mounted.start();
    await runCommand("dd", [
      "if=/dev/zero",
      `of=${join(mounted.targetPath, "data")}`,
      "bs=1M",
      "count=2",
      "conv=fsync",
    ]);
    await mounted.finish();
  }
}

test(`after ${roundCount} lives of volumes the driver holds what it held after the first`, async () => {
  await liveOnce("first");
  const before = await readHoldings();
  expect(before.filter((item) => /\/dev\/ublkc|\/image$/.test(item))).toEqual([]);
  expect(await listFiles(bed.poolPath)).toEqual(["groups", "lock", "pool.json", "snapshots", "volumes"]);
  for (let round = 0; round < roundCount; round++) await liveOnce(String(round));
  const isBack = async () => findMore(await readHoldings(), before).length === 0;
  await waitFor("the driver lets go", isBack, { timeoutMs: 10_000 }).catch(() => undefined);
  expect(findMore(await readHoldings(), before)).toEqual([]);
}, 400_000);

test("a stopped driver leaves its records, its empty memory pool, and nothing else", async () => {
  expect(await bed.driver.terminate()).toBe(0);
  expect(await listFiles(bed.poolPath)).toEqual(["groups", "lock", "pool.json", "snapshots", "volumes"]);
  expect((await readdir("/run/ublk-csi-test/leftovers")).sort()).toEqual(["disk", "driver.log", "kubelet", "state"]);
  expect(await listFiles(join(bed.stateDir, "memory/memory"))).toEqual(["groups", "pool.json", "snapshots", "volumes"]);
  expect(await listFiles(join(bed.stateDir, "engine"))).toEqual(["devices", "lock"]);
});
