import { mkdir, open, readFile, rm, rmdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { EngineClient } from "../../../src/daemon/engine-client.js";
import {
  type BlockDevice,
  BlockDeviceError,
  type BlockDeviceSpec,
  type ImageCopy,
  type ImageCopySpec,
} from "../../../src/engine/block-devices.js";
import { copyingState, readCopyState } from "./support/copy-progress.js";
import { EngineDaemon } from "./support/engine-daemon.js";
import { type MachineState, readMachineState, waitUntilNothingIsLeft } from "./support/machine-state.js";
import { findScratchDisk, mountPoolDisk, type PoolPlace } from "./support/pool-place.js";
import { fillInitially, PrefixWriter } from "./support/prefix-writer.js";
import { runCommand } from "./support/run-command.js";
import { byScale, onlyInFull } from "./support/scale.js";
import { waitFor } from "./support/wait-for.js";

const directory = "/run/ublk-image-copy-test";
const sizeBytes = byScale({ full: 48, smoke: 16 }) * 1024 ** 2;
const laneCount = 2;
const frozenMsMax = 100;

interface Kind {
  name: string;
  kind: "file" | "memory";
  mount(mountPoint: string): Promise<PoolPlace>;
}

const kinds: Kind[] = [
  { name: "file images on ext4", kind: "file", mount: (at) => mountPoolDisk(at, findScratchDisk(), "ext4") },
  { name: "memory images on tmpfs", kind: "memory", mount: mountTmpfs },
];

let machineBefore: MachineState;
let place: PoolPlace;
let engine: EngineDaemon;
let client: EngineClient;
let specs: BlockDeviceSpec[];
let devices: BlockDevice[];
let writers: PrefixWriter[];

async function mountTmpfs(mountPoint: string, options = "size=768m"): Promise<PoolPlace> {
  await mkdir(mountPoint, { recursive: true });
  await runCommand("mount", ["-t", "tmpfs", "-o", options, "tmpfs", mountPoint]);
  const release = async () => {
    await runCommand("umount", [mountPoint]);
    await rmdir(mountPoint);
  };
  return { path: mountPoint, release };
}

beforeEach(async () => {
  machineBefore = await readMachineState();
  writers = [];
});

afterEach(async () => {
  await stopWriters();
  for (const { volumeId } of await client.list()) await client.detach(volumeId);
  await client.close();
  await engine.terminate();
  await engine.keepLog("image-copy");
  await place.release();
  await rm(directory, { recursive: true });
  await waitUntilNothingIsLeft(machineBefore);
});

/** An engine with two devices whose images hold data everywhere. */
async function begin({ kind, mount }: Kind): Promise<void> {
  place = await mount("/run/ublk-image-copy-images");
  engine = await EngineDaemon.start({ directory });
  client = engine.connect();
  specs = [];
  devices = [];
  for (const volumeId of ["one", "two"]) {
    const image = { kind, path: join(place.path, volumeId) };
    await writeFile(image.path, fillInitially(Buffer.alloc(sizeBytes)));
    const geometry = { sizeBytes: BigInt(sizeBytes), logicalBlockSizeBytes: 512 };
    const spec = { volumeId, image, ...geometry, readOnly: false, discard: false };
    specs.push(spec);
    devices.push(await client.attach(spec));
  }
}

/** Writes to both devices all the time, which has happened already when it resolves. */
async function startWriters(): Promise<void> {
  const paths = devices.map(({ path }) => path);
  for (let index = 0; index < laneCount; index++) {
    const writer = await PrefixWriter.open(paths, sizeBytes, { index, count: laneCount });
    writers.push(writer);
    writer.start();
  }
  await waitFor("writes are answered", () => writers.every(({ answeredCount }) => answeredCount > 20));
}

async function stopWriters(): Promise<void> {
  for (const writer of writers.splice(0)) await writer.stop();
}

async function prepareCopies(name: string, folder = place.path): Promise<ImageCopySpec[]> {
  return await Promise.all(
    specs.map(async ({ volumeId, image: source }) => {
      const targetPath = join(folder, `${volumeId}-${name}`);
      await writeFile(targetPath, "");
      await truncate(targetPath, sizeBytes);
      return { copyId: `${name}-${volumeId}`, volumeId, source, sizeBytes: BigInt(sizeBytes), targetPath };
    }),
  );
}

/** Begins copies of both images at one instant. Returns what checks them: byte by byte, and that they are of that instant. */
async function startCopies(copies: ImageCopySpec[]): Promise<() => Promise<void>> {
  const before = writers.map(({ answeredCount }) => answeredCount);
  await client.startCopies(copies, { deadlineMs: 5_000 });
  const after = writers.map(({ issuedCount }) => issuedCount);
  return async () => {
    await waitUntilDone(copies);
    const images = await Promise.all(copies.map(({ targetPath }) => readFile(targetPath)));
    for (const [lane, writer] of [...writers.entries()]) {
      const count = writer.findPrefix(images);
      expect(count).toBeGreaterThanOrEqual(before[lane] ?? 0);
      expect(count).toBeLessThanOrEqual(after[lane] ?? 0);
    }
  };
}

async function waitUntilDone(copies: ImageCopySpec[]): Promise<void> {
  for (const { copyId } of copies) {
    const copy = await waitFor(`copy ${copyId} ends`, async () => await findEnded(copyId), { timeoutMs: 120_000 });
    expect(copy).toMatchObject({ state: "done", copiedBytes: BigInt(sizeBytes) });
  }
}

async function findEnded(copyId: string): Promise<ImageCopy | undefined> {
  const copy = await client.findCopy(copyId);
  return copy?.state === "copying" ? undefined : copy;
}

/** How long the devices stood still for each group of copies so far. */
async function readFrozenMs(): Promise<number[]> {
  const log = await readFile(join(directory, "engine.log"), "utf8");
  return [...log.matchAll(/"frozenMs":([0-9.]+)/g)].map(([, milliseconds]) => Number(milliseconds));
}

const readState = ({ copyId }: ImageCopySpec) => readCopyState(join(directory, "state"), copyId);

describe.each(kinds)("copies of $name under writes all the time", (kind) => {
  test("are what both images were at one instant, for which I/O stood still less than 100 ms", async () => {
    await begin(kind);
    await startWriters();
    const checks: (() => Promise<void>)[] = [];
    // The second is begun while the first goes on.
    for (const name of ["first", "second"]) checks.push(await startCopies(await prepareCopies(name)));
    for (const check of checks) await check();
    const frozenMs = await readFrozenMs();
    process.stdout.write(`frozen for ${frozenMs.join(" and ")} ms\n`);
    expect(frozenMs).toHaveLength(2);
    expect(Math.max(...frozenMs)).toBeLessThan(frozenMsMax);
  });

  test("go on after SIGKILL of the engine in the middle, and are right", async () => {
    await begin(kind);
    await startWriters();
    const copies = await prepareCopies("killed");
    const check = await startCopies(copies);
    await engine.kill();
    expect(await Promise.all(copies.map(readState))).toContain(copyingState);
    const issued = writers.map(({ issuedCount }) => issuedCount);
    engine = await engine.restart();
    await waitFor("I/O goes on", () => writers.every((writer, lane) => writer.answeredCount >= (issued[lane] ?? 0)));
    await check();
  });

  onlyInFull(() => {
    test("that are begun one after another during a hand-over are right", async () => {
      await begin(kind);
      await startWriters();
      const successor = EngineDaemon.launch({ directory, flags: ["--take-over"] });
      const checks: (() => Promise<void>)[] = [];
      // One after another until the old engine is gone.
      for (let round = 0; !engine.hasExited; round++) {
        const copies = await prepareCopies(`round-${round}`);
        checks.push(await onceThereIsTime(() => startCopies(copies)));
        await waitFor("the round ends", async () => engine.hasExited || (await areEnded(copies)), { intervalMs: 1 });
      }
      expect(await engine.waitForExit()).toBe(0);
      engine = successor;
      for (const check of checks) await check();
    });

    test("go on while the devices are detached and attached again", async () => {
      await begin(kind);
      await startWriters();
      const check = await startCopies(await prepareCopies("detached"));
      const written = writers.splice(0);
      for (const writer of written) await writer.stop();
      for (const { volumeId } of specs) await client.detach(volumeId);
      devices = [];
      for (const spec of specs) devices.push(await client.attach(spec));
      for (const { path } of devices) await overwriteAll(path);
      writers.push(...written);
      await check();
      writers.length = 0;
    });

    test("that cannot be written fail with the reason, and I/O goes on", async () => {
      await begin(kind);
      await startWriters();
      const small = await mountTmpfs("/run/ublk-image-copy-small", "size=1m");
      try {
        const copies = await prepareCopies("full", small.path);
        await client.startCopies(copies, { deadlineMs: 5_000 });
        for (const { copyId } of copies) {
          const copy = await waitFor("the copy ends", () => findEnded(copyId));
          expect(copy).toMatchObject({ state: "failed", reason: expect.stringContaining("No space left on device") });
        }
        const issued = writers.map(({ issuedCount }) => issuedCount);
        await waitFor("I/O goes on", () => writers.every((writer, lane) => writer.answeredCount > (issued[lane] ?? 0)));
        for (const { copyId } of copies) await client.endCopy(copyId);
      } finally {
        await small.release();
      }
    });

    test("that are ended in the middle hold nothing back, and leave nothing but the target", async () => {
      await begin(kind);
      await startWriters();
      const copies = await prepareCopies("ended");
      await client.startCopies(copies, { deadlineMs: 5_000 });
      for (const { copyId } of copies) await client.endCopy(copyId);
      const issued = writers.map(({ issuedCount }) => issuedCount);
      await waitFor("I/O goes on", () => writers.every((writer, lane) => writer.answeredCount > (issued[lane] ?? 0)));
      for (const copy of copies) {
        expect(await client.findCopy(copy.copyId)).toBeUndefined();
        await expect(readState(copy)).rejects.toMatchObject({ code: "ENOENT" });
      }
    });
  });
});

async function areEnded(copies: ImageCopySpec[]): Promise<boolean> {
  for (const { copyId } of copies) {
    if ((await onceThereIsTime(() => findEnded(copyId))) === undefined) return false;
  }
  return true;
}

/** An engine that hands over says "try again later". */
async function onceThereIsTime<T>(action: () => Promise<T>): Promise<T> {
  const outcome = await waitFor("the engine has time", async () => {
    try {
      return { value: await action() };
    } catch (error) {
      if (error instanceof BlockDeviceError && error.code === "unavailable") return false;
      throw error;
    }
  });
  return outcome.value;
}

/** Changes every byte of a device, durably. */
async function overwriteAll(path: string): Promise<void> {
  const device = await open(path, "r+");
  await device.write(Buffer.alloc(sizeBytes, "!"), 0, sizeBytes, 0);
  await device.sync();
  await device.close();
}
