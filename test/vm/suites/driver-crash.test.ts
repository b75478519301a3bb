import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { countCompletedIo, waitForIo } from "./support/completed-io.js";
import { checkFileSystem } from "./support/file-system.js";
import { runFio, verifyOptions } from "./support/fio.js";
import { byScale, onlyInFull } from "./support/scale.js";
import { TestBed } from "./support/test-bed.js";
import type { TestVolume } from "./support/test-volume.js";

const mebibyte = 1024 ** 2;
const killCount = byScale({ full: 20, smoke: 3 });
const fileBytes = byScale({ full: 8 * mebibyte, smoke: 2 * mebibyte });

let bed: TestBed;

beforeAll(async () => {
  bed = await TestBed.start("crash");
});
afterAll(async () => await bed.dispose());

/** Random writes, then all of them read back and compared; any error of either kind fails it. */
function startVerifiedLoad(directory: string): Promise<unknown> {
  const load = { ...verifyOptions, directory, rw: "randwrite", bs: "4k", size: fileBytes, direct: 1, overwrite: 0 };
  return runFio({ load: { ...load, ioengine: "libaio", iodepth: 16, file_append: 0, fsync: 64 } }, 300_000);
}

/**
 * Kills the driver in the midst of I/O and starts the next one. Returns the time from the kill to the first request that
 * completed afterwards: none can between the end of the old process and the start of the new one.
 */
async function crashAndRestart(deviceId: number): Promise<number> {
  const killedAt = performance.now();
  await bed.driver.kill();
  const completed = countCompletedIo(deviceId);
  const restarted = bed.restart();
  // As often as the guest's clock ticks, and not in a busy loop, which would take a processor from the new driver.
  await waitForIo(deviceId, 1, 5);
  const pauseMs = performance.now() - killedAt;
  await restarted;
  expect(countCompletedIo(deviceId)).toBeGreaterThan(completed);
  return pauseMs;
}

/** One kill at a moment of its own, early or late in the writing or in the verification. */
async function crashUnderLoad(volume: TestVolume, round: number): Promise<number> {
  const deviceId = await volume.findDeviceId();
  const requestCount = (2 * fileBytes) / 4096;
  const load = startVerifiedLoad(volume.targetPath);
  load.catch(() => undefined); // looked at below, after what happens meanwhile
  await waitForIo(deviceId, Math.ceil((requestCount * (round + 0.5)) / killCount / 1.25));
  const pauseMs = await crashAndRestart(deviceId);
  await load;
  return pauseMs;
}

function report(pausesMs: number[]): void {
  const sorted = pausesMs.map(Math.round).sort((left, right) => left - right);
  const [min, median, max] = [sorted[0], sorted[Math.floor(sorted.length / 2)], sorted.at(-1)];
  process.stdout.write(`pause from SIGKILL to the first completed I/O: min ${min}, median ${median}, max ${max} ms\n`);
  const folder = process.env.UBLK_RESULTS;
  if (folder !== undefined) writeFileSync(join(folder, "kill-pauses.txt"), `${pausesMs.map(Math.round).join("\n")}\n`);
}

describe("SIGKILL of the driver", () => {
  test(`${killCount} times in a row under fio --verify on a mounted volume: a pause each, and no error`, async () => {
    const access = { kind: "mount", fsType: "ext4" } as const;
    const volume = bed.volume({ name: "crash", sizeBytes: 64 * mebibyte, access, parameters: { queues: "2" } });
    await volume.start();
    const pausesMs: number[] = [];
    for (let round = 0; round < killCount; round++) pausesMs.push(await crashUnderLoad(volume, round));
    expect(pausesMs).toHaveLength(killCount);
    report(pausesMs);
    await volume.unpublish();
    await checkFileSystem(volume.stagingPath);
    await volume.unstage();
    await volume.delete();
  }, 1_200_000);

  onlyInFull(() => {
    test("a memory volume keeps its bytes too", async () => {
      const access = { kind: "mount", fsType: "ext4" } as const;
      const parameters = { pool: "memory" };
      const volume = bed.volume({ name: "crash-memory", sizeBytes: 32 * mebibyte, access, parameters });
      await volume.start();
      const deviceId = await volume.findDeviceId();
      const load = startVerifiedLoad(volume.targetPath);
      load.catch(() => undefined);
      await waitForIo(deviceId, 100);
      await crashAndRestart(deviceId);
      await load;
      await volume.finish();
    }, 300_000);
  });
});
