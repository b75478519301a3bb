import { open, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { afterEach, expect, test } from "@jest/globals";
import { copyingState, progressPath, readCopyState } from "./support/copy-progress.js";
import { readAllocatedBytes } from "./support/device-io.js";
import { EngineDaemon } from "./support/engine-daemon.js";
import { findScratchDisk, mountPoolDisk, type PoolPlace } from "./support/pool-place.js";
import { fillInitially, PrefixWriter } from "./support/prefix-writer.js";
import { byScale, onlyInFull } from "./support/scale.js";
import { SlowDisk } from "./support/slow-disk.js";
import { SnapshotCalls } from "./support/snapshot-calls.js";
import { TestBed } from "./support/test-bed.js";
import type { TestVolume } from "./support/test-volume.js";
import { waitFor } from "./support/wait-for.js";

const bedDirectory = "/run/ublk-csi-test/copy-interrupted";
const engineDirectory = "/run/ublk-copy-interrupted-engine";
/** The writer has then one block in each piece that is copied at a time. */
const sizeBytes = 8 * 1024 ** 2;
/** For each of 64 pieces: the copy takes longer than a driver may take to end and start, and writes to go on. */
const readDelayMs = 8_000;
const snapshotName = "interrupted";

let bed: TestBed;
/** Where there is one, it serves the devices; else the driver does. */
let engine: EngineDaemon | undefined;
let disk: SlowDisk;
let calls: SnapshotCalls;
let volume: TestVolume;
let writer: PrefixWriter;
/** What has to be undone at the end, the last first, whatever the test has come to. */
const undo: Array<() => Promise<unknown>> = [];

/** Files on ext4 share no blocks. */
async function prepareSlowPool(): Promise<PoolPlace> {
  disk = await SlowDisk.create(findScratchDisk());
  const { path, release } = await mountPoolDisk(join(bedDirectory, "disk"), disk.path, "ext4").catch(async (error) => {
    await disk.remove();
    throw error;
  });
  const releaseBoth = async () => {
    await release();
    await disk.remove();
  };
  return { path, release: releaseBoth };
}

/** A volume that holds data everywhere and is written all the time. */
async function begin({ withEngine }: { withEngine: boolean }): Promise<void> {
  engine = withEngine ? await EngineDaemon.start({ directory: engineDirectory }) : undefined;
  if (withEngine) undo.push(endEngine);
  const settings = engine === undefined ? {} : { engineSocketPath: engine.socketPath };
  bed = await TestBed.startIn(bedDirectory, prepareSlowPool, { logLevel: "debug", ...settings });
  undo.push(() => bed.dispose());
  calls = new SnapshotCalls(() => bed.driver.client);
  undo.push(deleteSnapshots);
  volume = bed.volume({ name: "written", sizeBytes, access: { kind: "block" } });
  await volume.start();
  await fill(volume.targetPath);
  writer = await PrefixWriter.open([volume.targetPath], sizeBytes, { index: 0, count: 1 });
  undo.push(() => writer.stop());
  writer.start();
  undo.push(() => disk.delayReads(0));
  await waitFor("writes are answered", () => writer.answeredCount > 100);
}

afterEach(async () => {
  const problems: unknown[] = [];
  for (const step of undo.splice(0).reverse()) await step().catch((error: unknown) => problems.push(error));
  if (problems.length > 0) throw new AggregateError(problems, `cleaning up: ${problems.map(String).join("; ")}`);
});

async function deleteSnapshots(): Promise<void> {
  for (const snapshotId of await calls.listIds()) await calls.delete(snapshotId);
}

async function endEngine(): Promise<void> {
  await engine?.terminate();
  await engine?.keepLog("copy-interrupted");
  await rm(engineDirectory, { recursive: true });
}

const stateDir = () => (engine === undefined ? bed.stateDir : join(engineDirectory, "state"));
const imagePathOf = (snapshotId: string) => join(bed.poolPath, "snapshots", snapshotId, "image");

interface BegunSnapshot {
  snapshotId: string;
  /** Fails unless the snapshot is what the volume held when it was made, byte by byte. */
  check: () => Promise<void>;
}

/** A snapshot of which something is copied, and most is not for a long time. */
async function beginSnapshot(): Promise<BegunSnapshot> {
  await disk.delayReads(readDelayMs);
  const from = writer.answeredCount;
  const { snapshotId, readyToUse } = await calls.create(snapshotName, volume.id);
  const to = writer.issuedCount;
  expect(readyToUse).toBe(false);
  await waitFor("something is copied", async () => (await readAllocatedBytes(imagePathOf(snapshotId))) > 0);
  const check = async () => {
    const count = writer.findPrefix([await readFile(imagePathOf(snapshotId))]);
    expect(count).toBeGreaterThanOrEqual(from);
    expect(count).toBeLessThanOrEqual(to);
  };
  return { snapshotId, check };
}

/** What was waiting when this was called is answered, and more. */
async function waitUntilWritesGoOn(): Promise<void> {
  const goal = writer.issuedCount + 1;
  await waitFor("writes are answered", () => writer.answeredCount >= goal, { timeoutMs: 120_000 });
}

function requireEngine(): EngineDaemon {
  if (engine === undefined) throw new Error("this case has no engine of its own");
  return engine;
}

async function handOver(): Promise<void> {
  const old = requireEngine();
  engine = EngineDaemon.launch({ directory: engineDirectory, flags: ["--take-over"] });
  expect(await old.waitForExit()).toBe(0);
}

async function restartEngine(): Promise<void> {
  expect(await requireEngine().terminate()).toBe(0);
  engine = await requireEngine().restart();
}

async function restartDriver(): Promise<void> {
  expect(await bed.driver.terminate()).toBe(0);
  await bed.restart();
}

async function killDriver(): Promise<void> {
  await bed.driver.kill();
  await bed.restart();
}

interface Interruption {
  what: string;
  withEngine: boolean;
  interrupt: () => Promise<void>;
}

const interruptions: Interruption[] = [
  { what: "the engine hands its devices over to the next one", withEngine: true, interrupt: handOver },
  { what: "the driver, which serves the device, is told to end", withEngine: false, interrupt: restartDriver },
  { what: "the engine is told to end", withEngine: true, interrupt: restartEngine },
  { what: "the driver, which serves the device, is killed", withEngine: false, interrupt: killDriver },
  { what: "the driver of an engine of its own is killed", withEngine: true, interrupt: killDriver },
];

test.each(interruptions.slice(0, byScale({ full: interruptions.length, smoke: 2 })))(
  "a snapshot in mid-copy when $what is gone on with, and is of the instant it was made at, under writes all the time",
  async ({ withEngine, interrupt }) => {
    await begin({ withEngine });
    const { snapshotId, check } = await beginSnapshot();
    expect(await readCopyState(stateDir(), snapshotId)).toBe(copyingState);
    await interrupt();
    await waitUntilWritesGoOn();
    // It was in the middle before, and still is behind the interruption.
    expect(await readCopyState(stateDir(), snapshotId)).toBe(copyingState);
    expect(await calls.create(snapshotName, volume.id)).toMatchObject({ snapshotId, readyToUse: false });
    await disk.delayReads(0);
    expect((await calls.createReady(snapshotName, volume.id)).snapshotId).toBe(snapshotId);
    await check();
  },
);

onlyInFull(() => {
  test("a snapshot in mid-copy that nobody can go on with is refused once and gone, and the next request begins anew", async () => {
    await begin({ withEngine: false });
    const { snapshotId } = await beginSnapshot();
    await bed.driver.kill();
    await rm(progressPath(stateDir(), snapshotId));
    await bed.restart();
    await waitUntilWritesGoOn();
    await disk.delayReads(0);
    const refusal = await waitFor("it is refused", () =>
      calls.create(snapshotName, volume.id).then(
        () => false as const,
        (error: unknown) => error,
      ),
    );
    expect(refusal).toMatchObject({
      code: status.INTERNAL,
      details: expect.stringContaining("ask again to begin anew"),
    });
    expect(await calls.listIds()).toEqual([]);
    expect(await readdir(join(bed.poolPath, "snapshots"))).toEqual([]);
    const anew = await beginSnapshot();
    expect(anew.snapshotId).not.toBe(snapshotId);
    await disk.delayReads(0);
    await calls.createReady(snapshotName, volume.id);
    await anew.check();
  });
});

async function fill(path: string): Promise<void> {
  const device = await open(path, "r+");
  await device.write(fillInitially(Buffer.alloc(sizeBytes)), 0, sizeBytes, 0);
  await device.sync();
  await device.close();
}
