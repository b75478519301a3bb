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
async function readHoldings() {
  const process = `/proc/${bed.driver.pid}`;
  const descriptors = await Promise.all(
    (await readdir(`${process}/fd`)).map((fd) => readTarget(`${process}/fd/${fd}`)),
  );
  const status = await readFile(`${process}/status`, "utf8");
  const maps = await readFile(`${process}/maps`, "utf8");
  return {
    threads: await readThreadNames(process),
    // The client's connection comes and goes with its idle time.
    descriptors: descriptors.filter((target) => !target.startsWith("socket:")).sort(),
    lockedKib: Number(/^VmLck:\s+(\d+)/m.exec(status)?.[1]),
    mappedFiles: maps.split("\n").filter((line) => /\/image|ublkc|io_uring/.test(line)),
    children: (await runCommand("ps", ["--ppid", String(bed.driver.pid), "-o", "args="])).trim().split("\n"),
    poolFiles: await listFiles(bed.poolPath),
    stateFiles: await listFiles(bed.stateDir),
    temporaryFiles: (await readdir("/tmp")).sort(),
  };
}

async function readThreadNames(process: string): Promise<string[]> {
  const tasks = await readdir(`${process}/task`);
  return (await Promise.all(tasks.map((id) => readFile(`${process}/task/${id}/comm`, "utf8")))).sort();
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
  expect(before.poolFiles).toEqual(["lock", "pool.json", "volumes"]);
  expect(before.mappedFiles.filter((line) => !line.includes("io_uring"))).toEqual([]);
  for (let round = 0; round < roundCount; round++) await liveOnce(String(round));
  const after = () => readHoldings().then((now) => JSON.stringify(now) === JSON.stringify(before));
  await waitFor("the driver lets go", after, { timeoutMs: 10_000 }).catch(async () => {
    expect(await readHoldings()).toEqual(before);
  });
}, 400_000);

test("a stopped driver leaves its records, its empty memory pool, and nothing else", async () => {
  expect(await bed.driver.terminate()).toBe(0);
  expect(await listFiles(bed.poolPath)).toEqual(["lock", "pool.json", "volumes"]);
  expect((await readdir("/run/ublk-csi-test/leftovers")).sort()).toEqual(["disk", "driver.log", "kubelet", "state"]);
  expect(await listFiles(join(bed.stateDir, "memory/memory"))).toEqual(["lock", "pool.json", "volumes"]);
  expect(await listFiles(join(bed.stateDir, "engine"))).toEqual(["devices"]);
});
