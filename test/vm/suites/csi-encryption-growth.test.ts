import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { startVerifiedWrites } from "./support/background-fio.js";
import { createRandomFile, digest, writeToDevice } from "./support/device-io.js";
import { writeDurably } from "./support/durable-file.js";
import {
  encrypted,
  findDeviceIdBelow,
  mappingOf,
  passphrase,
  readSizeBytes,
  restage,
} from "./support/encrypted-volume.js";
import { checkFileSystem } from "./support/file-system.js";
import { kernelHas } from "./support/kernel-has.js";
import { runCommand } from "./support/run-command.js";
import { onlyInFull } from "./support/scale.js";
import { TestBed } from "./support/test-bed.js";
import type { TestVolume, VolumeWish } from "./support/test-volume.js";

const mebibyte = 1024 ** 2;
const ext4 = { kind: "mount", fsType: "ext4" } as const;

let bed: TestBed;
let canGrowInUse: boolean;

beforeAll(async () => {
  bed = await TestBed.start("encryption-growth");
  canGrowInUse = await kernelHas("UPDATE_SIZE");
});
afterAll(async () => await bed.dispose());

function volumeOf(name: string, change: Partial<VolumeWish> = {}): TestVolume {
  const wish = { name, sizeBytes: 32 * mebibyte, access: ext4, parameters: encrypted, secrets: { passphrase } };
  return bed.volume({ ...wish, ...change });
}

/** Gives users the new size, as the resizer and kubelet do. May be repeated. */
async function growInUse(volume: TestVolume, sizeBytes: number): Promise<void> {
  const oldBytes = await readSizeBytes(mappingOf(volume));
  await volume.expand(sizeBytes);
  // The controller has no secret: what users have cannot have grown yet.
  expect(await readSizeBytes(mappingOf(volume))).toBe(oldBytes);
  for (let round = 0; round < 2; round++) expect(await volume.expandOnNode(sizeBytes)).toBe(BigInt(sizeBytes));
  expect(await readSizeBytes(mappingOf(volume))).toBe(sizeBytes);
}

async function expectRefusedInUse(volume: TestVolume, sizeBytes: number): Promise<void> {
  const details = expect.stringContaining("UPDATE_SIZE (first in kernel 6.16)");
  await expect(volume.expand(sizeBytes)).rejects.toMatchObject({ code: status.FAILED_PRECONDITION, details });
  expect(await readSizeBytes(mappingOf(volume))).toBe(volume.wish.sizeBytes);
}

function testMounted(name: string, change: Partial<VolumeWish> = {}): void {
  test(`${name}: grows while it is written, keeps every byte, and takes a file larger than it was`, async () => {
    const volume = volumeOf(name, change);
    const oldBytes = volume.wish.sizeBytes;
    await volume.start();
    if (!canGrowInUse) {
      await expectRefusedInUse(volume, 2 * oldBytes);
      return await volume.finish();
    }
    const kept = await createRandomFile(join(volume.targetPath, "kept"), 4 * mebibyte);
    const keptDigest = await digest(kept, 4 * mebibyte);
    const load = { path: join(volume.targetPath, "load"), deviceId: await findDeviceIdBelow(volume) };
    const writes = startVerifiedWrites(load, { sizeBytes: 8 * mebibyte, seconds: 5 });
    await writes.running;
    await growInUse(volume, 3 * oldBytes);
    await writes.done;
    const large = await createRandomFile(join(volume.targetPath, "large"), oldBytes);
    const largeDigest = await digest(large, oldBytes);
    await restage(volume);
    expect(await readSizeBytes(mappingOf(volume))).toBe(3 * oldBytes);
    expect(await digest(kept, 4 * mebibyte)).toBe(keptDigest);
    expect(await digest(large, oldBytes)).toBe(largeDigest);
    await volume.unpublish();
    if (change.access?.kind !== "mount" || change.access.fsType !== "btrfs") await checkFileSystem(volume.stagingPath);
    await volume.unstage();
    await volume.delete();
  });
}

describe("an encrypted volume in use", () => {
  testMounted("ext4");

  onlyInFull(() => {
    testMounted("xfs", {
      sizeBytes: 320 * mebibyte,
      access: { kind: "mount", fsType: "xfs" },
      parameters: { ...encrypted, provisioning: "thin" },
    });
    testMounted("btrfs", {
      sizeBytes: 128 * mebibyte,
      access: { kind: "mount", fsType: "btrfs" },
      parameters: { ...encrypted, logicalBlockSize: "4096" },
    });
  });

  test("raw: grows while it is written, keeps every byte, and takes writes at its new end", async () => {
    const volume = volumeOf("raw", { access: { kind: "block" } });
    await volume.start();
    if (!canGrowInUse) {
      await expectRefusedInUse(volume, 48 * mebibyte);
      return await volume.finish();
    }
    const data = await createRandomFile(join(bed.directory, "end"), mebibyte);
    await writeToDevice(data, volume.targetPath, { seekBlocks: 31, direct: true });
    const load = { path: volume.targetPath, deviceId: await findDeviceIdBelow(volume) };
    const writes = startVerifiedWrites(load, { sizeBytes: 16 * mebibyte, seconds: 5 });
    await writes.running;
    await growInUse(volume, 48 * mebibyte);
    await writes.done;
    expect(await readSizeBytes(volume.targetPath)).toBe(48 * mebibyte);
    await writeToDevice(data, volume.targetPath, { seekBlocks: 47, direct: true });
    await restage(volume);
    for (const block of [31, 47]) {
      await runCommand("cmp", ["-n", `${mebibyte}`, "-i", `${block * mebibyte}:0`, volume.targetPath, data]);
    }
    await volume.finish();
  });

  test("grows on the node with the right passphrase only; with none it goes on as it is, and is larger when staged again", async () => {
    const volume = volumeOf("without-secret");
    await volume.start();
    if (!canGrowInUse) {
      await expectRefusedInUse(volume, 96 * mebibyte);
      return await volume.finish();
    }
    await writeDurably(join(volume.targetPath, "note"), "kept");
    await volume.expand(96 * mebibyte);
    const refusals: Array<[Record<string, string>, RegExp]> = [
      [{}, /has no passphrase/],
      [{ passphrase: "wrong-horse-battery-staple" }, /does not open/],
    ];
    for (const [secrets, reason] of refusals) {
      volume.wish.secrets = secrets;
      const refused = { code: status.INVALID_ARGUMENT, details: expect.stringMatching(reason) };
      await expect(volume.expandOnNode(96 * mebibyte)).rejects.toMatchObject(refused);
      expect(await readSizeBytes(mappingOf(volume))).toBe(32 * mebibyte);
    }
    await writeDurably(join(volume.targetPath, "late"), "kept too");
    volume.wish.secrets = { passphrase };
    await restage(volume);
    await expectGrown(volume, 96 * mebibyte);
    expect(await readFile(join(volume.targetPath, "late"), "utf8")).toBe("kept too");
    await volume.finish();
  });
});

test("an encrypted volume that nobody has is larger when it is staged, and so is its file system", async () => {
  const volume = volumeOf("offline");
  await volume.start();
  await writeDurably(join(volume.targetPath, "note"), "kept");
  await volume.unpublish();
  await volume.unstage();
  await volume.expand(96 * mebibyte);
  await volume.stage();
  await volume.publish();
  await expectGrown(volume, 96 * mebibyte);
  await volume.finish();
});

async function expectGrown(volume: TestVolume, sizeBytes: number): Promise<void> {
  expect(await readSizeBytes(mappingOf(volume))).toBe(sizeBytes);
  const [bytes] = (await volume.readStats()).usage;
  expect(Number(bytes?.total)).toBeGreaterThan(0.8 * sizeBytes);
  expect(await readFile(join(volume.targetPath, "note"), "utf8")).toBe("kept");
}
