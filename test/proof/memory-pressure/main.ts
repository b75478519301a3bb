/** Runs in a guest with little memory: writes far more than fits through the page cache of our devices. See docs/proof.md. */
import { readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { runFio } from "../../vm/suites/support/fio.js";
import { readMachineState, waitUntilNothingIsLeft } from "../../vm/suites/support/machine-state.js";
import { mountPoolDisk } from "../../vm/suites/support/pool-place.js";
import { runCommand } from "../../vm/suites/support/run-command.js";
import { Engine } from "../support/engine.js";
import { readNumber } from "../support/settings.js";
import { Verdict } from "../support/verdict.js";
import { createVolume } from "../support/volumes.js";

const mebibyte = 1024 ** 2;
const root = "/run/ublk-proof";
const volumeCount = 3;
const fileMebibytes = readNumber("UBLK_FILE_MB", 300);
const writeTimeoutMs = 900_000;

const verdict = new Verdict();
const before = await readMachineState();
const place = await mountPoolDisk(join(root, "disk"));
const engine = new Engine(join(root, "engine"));
engine.start();

const mountPoints: string[] = [];
for (let index = 0; index < volumeCount; index++) mountPoints.push(await mountVolume(`v${index}`));
let lowestFreeMib = Number.POSITIVE_INFINITY;
let highestDirtyMib = 0;
const watch = setInterval(() => {
  lowestFreeMib = Math.min(lowestFreeMib, readMemoryMib("MemFree"));
  highestDirtyMib = Math.max(highestDirtyMib, readMemoryMib("Dirty") + readMemoryMib("Writeback"));
}, 100);
await Promise.all(mountPoints.map(write)).catch((error: unknown) => {
  verdict.applicationErrors++;
  verdict.addProblem("buffered writes", error);
});
clearInterval(watch);
for (const mountPoint of mountPoints) await runCommand("umount", [mountPoint]);
for (const { volumeId } of await engine.client.list()) await engine.client.detach(volumeId);
await engine.terminate();
await place.release();
await waitUntilNothingIsLeft(before).catch((error: unknown) => verdict.addProblem("machine", error));
process.exit(
  verdict.close(
    `memory pressure: ${volumeCount} x ${fileMebibytes} MiB of dirty pages on our devices, written and verified with ` +
      `${readMemoryMib("MemTotal")} MiB of memory: at the most ${highestDirtyMib} MiB dirty, at the least ${lowestFreeMib} MiB free`,
  ),
);

function readMemoryMib(name: string): number {
  const kib = new RegExp(`^${name}: +(\\d+) kB$`, "m").exec(readFileSync("/proc/meminfo", "utf8"))?.[1];
  return Math.round(Number(kib) / 1024);
}

async function mountVolume(volumeId: string): Promise<string> {
  const sizeBytes = (fileMebibytes + 100) * mebibyte;
  const { path } = await engine.client.attach(await createVolume(place.path, volumeId, sizeBytes));
  const mountPoint = join(root, volumeId);
  await mkdir(mountPoint);
  await runCommand("mkfs.ext4", ["-q", "-E", "nodiscard", path]);
  await runCommand("mount", [path, mountPoint]);
  return mountPoint;
}

/** Through the page cache, then read back and compared. */
async function write(directory: string): Promise<void> {
  const file = { directory, size: `${fileMebibytes}M`, rw: "write", bs: "256k", direct: 0, end_fsync: 1 };
  await runFio(
    { load: { ...file, ioengine: "psync", verify: "crc32c", verify_fatal: 1, do_verify: 1 } },
    writeTimeoutMs,
  );
}
