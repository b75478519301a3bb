import { readFile, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { VolumeCapability_AccessMode_Mode as AccessMode } from "../../../src/gen/csi/csi.js";
import { createRandomFile, digest, readAllocatedBytes } from "./support/device-io.js";
import { kernelHas } from "./support/kernel-has.js";
import { findMount } from "./support/mounts.js";
import { runCommand } from "./support/run-command.js";
import { onlyInFull } from "./support/scale.js";
import { TestBed } from "./support/test-bed.js";
import type { TestVolume, VolumeWish } from "./support/test-volume.js";
import { copyImage, editRecord, enlarge } from "./support/volume-surgery.js";

const mebibyte = 1024 ** 2;
const types = [
  { fsType: "ext4", sizeMiB: 64 },
  { fsType: "xfs", sizeMiB: 320 },
  { fsType: "btrfs", sizeMiB: 160 },
];

let bed: TestBed;

beforeAll(async () => {
  bed = await TestBed.start("filesystems");
});
afterAll(async () => await bed.dispose());

function wishOf(name: string, fsType: string, sizeMiB: number, rest: Partial<VolumeWish> = {}): VolumeWish {
  const parameters = { provisioning: "thin", ...rest.parameters };
  return { name, sizeBytes: sizeMiB * mebibyte, access: { kind: "mount", fsType }, ...rest, parameters };
}

const deviceOf = (volume: TestVolume) => findMount(volume.stagingPath)?.source ?? "";
const readUuid = async (volume: TestVolume) =>
  (await runCommand("blkid", ["-p", "-o", "value", "-s", "UUID", deviceOf(volume)])).trim();

async function restage(volume: TestVolume): Promise<void> {
  await volume.unpublish();
  await volume.unstage();
  await volume.stage();
  await volume.publish();
}

async function readTotalBytes(path: string): Promise<number> {
  const { blocks, bsize } = await statfs(path);
  return blocks * bsize;
}

describe("btrfs", () => {
  test.each(["disk", "memory"])(
    "in pool %s keeps its files over a restage, and has bytes but no inodes",
    async (pool) => {
      const access = { kind: "mount", fsType: "btrfs", mountFlags: ["compress=zstd:3", "noatime"] } as const;
      const volume = bed.volume(
        wishOf(`btrfs-${pool}`, "btrfs", 128, {
          access: { ...access, mountFlags: [...access.mountFlags] },
          parameters: { pool },
        }),
      );
      await volume.start();
      expect(findMount(volume.stagingPath)).toMatchObject({ fsType: "btrfs" });
      expect(findMount(volume.stagingPath)?.options).toEqual(expect.arrayContaining(["noatime", "compress=zstd:3"]));
      const data = await createRandomFile(join(volume.targetPath, "data"), mebibyte);
      const written = await digest(data, mebibyte);
      await volume.stage(); // again, while it is there
      await volume.publish();
      await restage(volume);
      expect(await digest(data, mebibyte)).toBe(written);
      expect((await volume.readStats()).usage.map(({ unit }) => unit)).toEqual([1]);
      await volume.finish();
    },
  );
});

describe("mkfs options", () => {
  test.each<[string, number, Record<string, string>, (device: string) => [string, string[]], RegExp[]]>([
    [
      "ext4",
      64,
      { ext4BlockSize: "2048", ext4BytesPerInode: "65536", ext4ReservedPercent: "3" },
      (device) => ["dumpe2fs", ["-h", device]],
      [/^Block size: +2048$/m, /^Inode count: +1024$/m, /^Reserved block count: +983$/m],
    ],
    [
      "xfs",
      1024,
      { xfsInodeSize: "1024", xfsReflink: "false", xfsStripeUnit: "65536", xfsStripeWidth: "2" },
      (device) => ["xfs_info", [device]],
      [/isize=1024/, /reflink=0/, /sunit=16 +swidth=32 blks/],
    ],
    [
      "btrfs",
      160,
      { btrfsNodeSize: "4096", btrfsChecksum: "xxhash" },
      (device) => ["btrfs", ["inspect-internal", "dump-super", device]],
      [/^nodesize\s+4096$/m, /^csum_type\s+1 \(xxhash64\)$/m],
    ],
  ])("shape %s", async (fsType, sizeMiB, parameters, inspect, patterns) => {
    const volume = bed.volume(wishOf(`options-${fsType}`, fsType, sizeMiB, { parameters }));
    await volume.create();
    await volume.stage();
    const [program, args] = inspect(deviceOf(volume));
    const found = await runCommand(program, args);
    for (const pattern of patterns) expect(found).toMatch(pattern);
    await volume.finish();
  });
});

describe("the copy of a file system in use", () => {
  test.each(types)(
    "$fsType: is mounted beside its source, with a uuid of its own for good",
    async ({ fsType, sizeMiB }) => {
      const source = bed.volume(wishOf(`source-${fsType}`, fsType, sizeMiB));
      const copy = bed.volume(wishOf(`copy-${fsType}`, fsType, sizeMiB));
      await source.start();
      await copy.create();
      const data = await createRandomFile(join(source.targetPath, "data"), mebibyte);
      await runCommand("sync", ["-f", source.targetPath]);
      await createRandomFile(join(source.targetPath, "late"), mebibyte);
      await runCommand("sync", [join(source.targetPath, "late")]); // fsync: what is in the log only
      await runCommand("sync", ["--data", deviceOf(source)]);
      await copyImage(bed, source, copy);
      await editRecord(bed, copy, { contentSource: { kind: "volume", volumeId: source.id } });
      await copy.stage();
      await copy.publish();
      const uuid = await readUuid(copy);
      expect(uuid).not.toBe(await readUuid(source));
      for (const name of ["data", "late"]) {
        const expected = await digest(join(source.targetPath, name), mebibyte);
        expect(await digest(join(copy.targetPath, name), mebibyte)).toBe(expected);
      }
      await restage(copy);
      expect(await readUuid(copy)).toBe(uuid);
      expect(await digest(data, mebibyte)).toBe(await digest(join(copy.targetPath, "data"), mebibyte));
      for (const volume of [copy, source]) await volume.finish();
    },
  );
});

/** Where the kernel cannot grow a device in use this is refused, and works as the refusal says. */
async function expandInUse(volume: TestVolume, sizeBytes: number): Promise<void> {
  if (await kernelHas("UPDATE_SIZE")) return await volume.expand(sizeBytes);
  const details = expect.stringContaining("unpublish and unstage it, then expand it");
  await expect(volume.expand(sizeBytes)).rejects.toMatchObject({ code: 9, details });
  await volume.unpublish();
  await volume.unstage();
  await volume.expand(sizeBytes);
  await volume.stage();
  await volume.publish();
}

describe("size", () => {
  test.each(types)("$fsType: grows when it is staged on a larger device", async ({ fsType, sizeMiB }) => {
    const volume = bed.volume(wishOf(`grown-${fsType}`, fsType, sizeMiB));
    await volume.start();
    await writeFile(join(volume.targetPath, "note"), "kept");
    const before = await readTotalBytes(volume.targetPath);
    await volume.unpublish();
    await volume.unstage();
    await enlarge(bed, volume, 2 * sizeMiB * mebibyte);
    await volume.stage();
    await volume.publish();
    expect(await readTotalBytes(volume.targetPath)).toBeGreaterThan(before * 1.5);
    expect(await readFile(join(volume.targetPath, "note"), "utf8")).toBe("kept");
    await volume.finish();
  });

  test.each(types)("$fsType: grows with its volume in use, as far as the kernel can", async ({ fsType, sizeMiB }) => {
    const volume = bed.volume(wishOf(`online-${fsType}`, fsType, sizeMiB));
    await volume.start();
    await writeFile(join(volume.targetPath, "note"), "kept");
    const before = await readTotalBytes(volume.targetPath);
    const sizeBytes = 2 * sizeMiB * mebibyte;
    await expandInUse(volume, sizeBytes);
    for (let round = 0; round < 2; round++) expect(await volume.expandOnNode(sizeBytes)).toBe(BigInt(sizeBytes));
    expect(await readTotalBytes(volume.targetPath)).toBeGreaterThan(before * 1.5);
    expect(await readFile(join(volume.targetPath, "note"), "utf8")).toBe("kept");
    await volume.finish();
  });

  test("a raw block volume grows in use, as far as the kernel can", async () => {
    const sizeBytes = 32 * mebibyte;
    const volume = bed.volume({ name: "online-block", sizeBytes: 16 * mebibyte, access: { kind: "block" } });
    await volume.start();
    await expandInUse(volume, sizeBytes);
    expect(await volume.expandOnNode(sizeBytes)).toBe(BigInt(sizeBytes));
    expect((await runCommand("blockdev", ["--getsize64", volume.targetPath])).trim()).toBe(`${sizeBytes}`);
    await volume.finish();
  });
});

describe("damage", () => {
  test("an ext4 file system whose repair takes a decision is not mounted, and stays as it is", async () => {
    const volume = bed.volume(wishOf("damaged-ext4", "ext4", 64));
    await volume.create();
    await volume.stage();
    await volume.unstage();
    const image = bed.imagePath(volume);
    for (const request of ["clri <2>", "set_super_value state 0"])
      await runCommand("debugfs", ["-w", "-R", request, image]);
    await expect(volume.stage()).rejects.toMatchObject({
      details: expect.stringMatching(/has errors that need a decision.*run e2fsck on it yourself/),
    });
    expect(findMount(volume.stagingPath)).toBeUndefined();
    await volume.finish();
  });

  test("an xfs file system that does not mount is refused with what its checker says", async () => {
    const volume = bed.volume(wishOf("damaged-xfs", "xfs", 320));
    await volume.create();
    await volume.stage();
    await volume.unstage();
    const image = bed.imagePath(volume);
    await runCommand("xfs_db", ["-x", "-c", "sb 0", "-c", "write -d rootino 999999", image]);
    await expect(volume.stage()).rejects.toMatchObject({
      details: expect.stringMatching(/cannot mount the xfs file system .*A check that changes nothing says: /),
    });
    await volume.finish();
  });
});

onlyInFull(() => {
  test("a reader's volume is mounted read-only though its journal has to be replayed first", async () => {
    const source = bed.volume(wishOf("dirty-source", "ext4", 64));
    const accessMode = AccessMode.SINGLE_NODE_READER_ONLY;
    const copy = bed.volume(wishOf("dirty-reader", "ext4", 64, { accessMode }));
    await source.start();
    await copy.create();
    await writeFile(join(source.targetPath, "note"), "durable");
    await runCommand("sync", ["-f", source.targetPath]);
    await copyImage(bed, source, copy);
    await editRecord(bed, copy, { contentSource: { kind: "volume", volumeId: source.id } });
    await copy.stage();
    await copy.publish({ readOnly: true });
    expect(await readFile(join(copy.targetPath, "note"), "utf8")).toBe("durable");
    await expect(writeFile(join(copy.targetPath, "note"), "x")).rejects.toMatchObject({ code: "EROFS" });
    for (const volume of [copy, source]) await volume.finish();
  });
});

test.each(types)("$fsType: unstaging gives deleted files' space back to the pool", async ({ fsType, sizeMiB }) => {
  const parameters = { trimAtUnstage: "true" };
  const volume = bed.volume(wishOf(`trimmed-${fsType}`, fsType, sizeMiB, { parameters }));
  await volume.start();
  const data = await createRandomFile(join(volume.targetPath, "data"), 24 * mebibyte);
  await runCommand("sync", ["-f", volume.targetPath]);
  const before = await readAllocatedBytes(bed.imagePath(volume));
  await runCommand("rm", [data]);
  await volume.unpublish();
  await volume.unstage();
  expect(before - (await readAllocatedBytes(bed.imagePath(volume)))).toBeGreaterThan(20 * mebibyte);
  await volume.finish();
});
