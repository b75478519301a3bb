import { closeSync, fsyncSync, openSync, writeSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { sharedExtentsMax } from "../../../src/pools/copies/block-sharing.js";
import { createRandomFile, writeToDevice } from "./support/device-io.js";
import { mountPoolDisk } from "./support/pool-place.js";
import { runCommand } from "./support/run-command.js";
import { onlyInFull } from "./support/scale.js";
import { readSequence, SequenceWriter } from "./support/sequence-writer.js";
import { SnapshotCalls } from "./support/snapshot-calls.js";
import { TestBed } from "./support/test-bed.js";
import type { TestVolume } from "./support/test-volume.js";
import { waitFor } from "./support/wait-for.js";

const mebibyte = 1024 ** 2;
const directory = "/run/ublk-csi-test/shared-blocks";
/** The writer has the bytes before. */
const fragmentsAt = 4 * mebibyte;
/** Of a slow, emulated machine beside other work; a freeze is meant to last a hundredth of it. */
const pauseMsMax = 10_000;
const memberExtents = 4_000;

let bed: TestBed;
let calls: SnapshotCalls;

beforeAll(async () => {
  const configPath = join(directory, "config.yaml");
  bed = await TestBed.startIn(
    directory,
    async () => {
      const place = await mountPoolDisk(join(directory, "disk"));
      const twice = join(dirname(place.path), "twice");
      await mkdir(twice);
      await writeFile(
        configPath,
        `pools:\n  - name: twice\n    kind: file\n    directory: ${twice}\n    overcommit: 2\n`,
      );
      return place;
    },
    { configPath },
  );
  calls = new SnapshotCalls(() => bed.driver.client);
});
afterAll(async () => await bed.dispose());

const snapshotImage = (snapshotId: string) => join(bed.poolPath, "snapshots", snapshotId, "image");

/** A volume in use whose image has so many extents: every other block of it was written. */
async function startFragmented(name: string, count: number): Promise<TestVolume> {
  const sizeBytes = fragmentsAt + count * 8192;
  const parameters = { pool: "disk", provisioning: "thin" };
  const volume = bed.volume({ name, sizeBytes, access: { kind: "block" }, parameters });
  await volume.create();
  const image = openSync(bed.imagePath(volume), "r+");
  for (let index = 0; index < count; index++) {
    writeSync(image, Buffer.alloc(4096, `${name} ${index} `), 0, 4096, fragmentsAt + index * 8192);
  }
  fsyncSync(image);
  closeSync(image);
  await volume.stage();
  await volume.publish();
  return volume;
}

async function compareFragments(volume: TestVolume, snapshotId: string): Promise<void> {
  const skipped = `${fragmentsAt}:${fragmentsAt}`;
  await runCommand("cmp", ["-i", skipped, volume.targetPath, snapshotImage(snapshotId)]);
}

async function isShared(path: string): Promise<boolean> {
  return /^ +\d+:.*\bshared\b/m.test(await runCommand("filefrag", ["-v", path]));
}

describe("under a writer, of images in many pieces", () => {
  test("a group is one instant, and I/O goes on soon", async () => {
    const members: TestVolume[] = [];
    for (const name of ["one", "two", "three"]) members.push(await startFragmented(name, memberExtents));
    const ids = members.map(({ id }) => id);
    const writer = new SequenceWriter(members.map(({ targetPath }) => targetPath));
    await waitFor("the writer gets on", () => writer.written > 100);
    const from = writer.written;
    const usualMs = Math.round(writer.slowestMs);
    writer.slowestMs = 0;
    const { readyToUse } = await calls.createGroup("group", ids);
    const to = writer.written + 1;
    const pauseMs = Math.round(writer.slowestMs);
    const way = readyToUse ? "cloned" : "copied";
    process.stdout.write(
      `3 images with ${memberExtents} extents each: ${way}, pause ${pauseMs} ms, before ${usualMs} ms\n`,
    );
    const group = await calls.createGroupReady("group", ids);
    await writer.stop();
    const memberOf = (id: string) =>
      group.snapshots.find(({ sourceVolumeId }) => sourceVolumeId === id)?.snapshotId ?? "";
    const length = await readSequence(ids.map((id) => snapshotImage(memberOf(id))));
    expect(length).toBeGreaterThanOrEqual(from);
    expect(length).toBeLessThanOrEqual(to);
    expect(pauseMs).toBeLessThan(pauseMsMax);
    for (const member of members) await compareFragments(member, memberOf(member.id));
    await calls.deleteGroup(group);
    for (const member of members) await member.finish();
  });

  onlyInFull(() => {
    test("a snapshot of more pieces than can be shared soon is copied, and is whole", async () => {
      const volume = await startFragmented("shattered", sharedExtentsMax + 1000);
      const writer = new SequenceWriter([volume.targetPath]);
      await waitFor("the writer gets on", () => writer.written > 100);
      const from = writer.written;
      writer.slowestMs = 0;
      const { snapshotId } = await calls.create("shattered-1", volume.id);
      const to = writer.written + 1;
      const pauseMs = Math.round(writer.slowestMs);
      const isReady = async () => (await calls.get(snapshotId)).readyToUse;
      await waitFor("the snapshot is ready", isReady, { timeoutMs: 240_000, intervalMs: 1000 });
      process.stdout.write(
        `an image with ${sharedExtentsMax + 1000} extents: pause ${pauseMs} ms, ` +
          `${Math.round(writer.slowestMs)} ms until all was copied\n`,
      );
      await writer.stop();
      const length = await readSequence([snapshotImage(snapshotId)]);
      expect(length).toBeGreaterThanOrEqual(from);
      expect(length).toBeLessThanOrEqual(to);
      expect(pauseMs).toBeLessThan(pauseMsMax);
      expect(await readFile(bed.driver.logPath, "utf8")).toContain("blocks are not shared, the bytes are copied");
      expect(await isShared(snapshotImage(snapshotId))).toBe(false);
      await compareFragments(volume, snapshotId);
      await calls.delete(snapshotId);
      await volume.finish();
    });
  });
});

test("a thick clone shares no block on the file system of an over-committed pool, whichever pool it is in; a thin one does", async () => {
  const pattern = await createRandomFile(join(directory, "pattern"), 8 * mebibyte);
  for (const [pool, provisioning, shares] of [
    ["twice", "thick", false],
    ["twice", "thin", true],
    ["disk", "thick", false],
    ["disk", "thin", true],
  ] as const) {
    const wish = { sizeBytes: 32 * mebibyte, access: { kind: "block" } } as const;
    const source = bed.volume({ ...wish, name: `${pool}-${provisioning}`, parameters: { pool } });
    await source.start();
    await writeToDevice(pattern, source.targetPath, { direct: true });
    const contentSource = { type: { $case: "volume" as const, value: { volumeId: source.id } } };
    const parameters = { pool, provisioning };
    const clone = bed.volume({ ...wish, name: `${pool}-${provisioning}-clone`, parameters, contentSource });
    await clone.start();
    await runCommand("cmp", [source.targetPath, clone.targetPath]);
    const image = join(directory, "disk", pool === "disk" ? "pool" : pool, "volumes", clone.id, "image");
    expect(await isShared(image)).toBe(shares);
    for (const volume of [clone, source]) await volume.finish();
  }
});
