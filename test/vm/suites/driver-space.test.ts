import { readdir, statfs } from "node:fs/promises";
import { join } from "node:path";
import { status as Code } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { ControllerService, GetCapacityRequest } from "../../../src/gen/csi/csi.js";
import { readAllocatedBytes, readBlockAttribute } from "./support/device-io.js";
import { runCommand } from "./support/run-command.js";
import { onlyInFull } from "./support/scale.js";
import { TestBed } from "./support/test-bed.js";

const mebibyte = 1024 ** 2;
const volumeBytes = 64 * mebibyte;
const block = { kind: "block" } as const;

let bed: TestBed;

beforeAll(async () => {
  bed = await TestBed.start("space");
});
afterAll(async () => await bed.dispose());

async function readCapacity(): Promise<bigint> {
  const request = GetCapacityRequest.fromPartial({ parameters: { pool: "disk" } });
  return (await bed.driver.client.call(ControllerService.getCapacity, request)).availableCapacity;
}

const fill = (path: string) =>
  runCommand("dd", ["if=/dev/urandom", `of=${path}`, "bs=1M", "count=16", "oflag=direct", "status=none"]);

describe("discard", () => {
  test("a thin volume gives space back to the pool", async () => {
    const volume = bed.volume({
      name: "thin",
      sizeBytes: volumeBytes,
      access: block,
      parameters: { provisioning: "thin" },
    });
    await volume.start();
    const image = bed.imagePath(volume);
    expect(await readAllocatedBytes(image)).toBeLessThan(mebibyte);
    await fill(volume.targetPath);
    expect(await readAllocatedBytes(image)).toBeGreaterThanOrEqual(16 * mebibyte);
    await runCommand("blkdiscard", [volume.targetPath]);
    expect(await readAllocatedBytes(image)).toBeLessThan(mebibyte);
    await volume.finish();
  });

  onlyInFull(() => {
    test("a file deleted from a thin volume gives its space back with fstrim", async () => {
      const access = { kind: "mount", fsType: "ext4" } as const;
      const volume = bed.volume({ name: "trim", sizeBytes: volumeBytes, access, parameters: { provisioning: "thin" } });
      await volume.start();
      const image = bed.imagePath(volume);
      const empty = await readAllocatedBytes(image);
      const file = join(volume.targetPath, "file");
      await fill(file);
      const full = await readAllocatedBytes(image);
      expect(full - empty).toBeGreaterThanOrEqual(16 * mebibyte);
      await runCommand("rm", [file]);
      await runCommand("sync", ["-f", volume.targetPath]);
      await runCommand("fstrim", [volume.targetPath]);
      expect(full - (await readAllocatedBytes(image))).toBeGreaterThanOrEqual(15 * mebibyte);
      await volume.finish();
    });
  });

  test("a thick volume keeps its space, and offers no discard", async () => {
    const volume = bed.volume({ name: "thick", sizeBytes: volumeBytes, access: block });
    await volume.start();
    const image = bed.imagePath(volume);
    const device = `/dev/ublkb${await volume.findDeviceId()}`;
    expect(await readAllocatedBytes(image)).toBeGreaterThanOrEqual(volumeBytes);
    expect(await readBlockAttribute(device, "queue/discard_max_bytes")).toBe("0");
    await fill(volume.targetPath);
    await runCommand("blkdiscard", ["--zeroout", volume.targetPath]);
    expect(await readAllocatedBytes(image)).toBeGreaterThanOrEqual(volumeBytes);
    await runCommand("cmp", ["-n", String(16 * mebibyte), volume.targetPath, "/dev/zero"]);
    await volume.finish();
  });
});

onlyInFull(() => {
  describe("capacity", () => {
    test("follows thick and thin volumes alike, by their whole size", async () => {
      const before = await readCapacity();
      const thick = bed.volume({ name: "booked-thick", sizeBytes: volumeBytes, access: block });
      const parameters = { provisioning: "thin" };
      const thin = bed.volume({ name: "booked-thin", sizeBytes: volumeBytes, access: block, parameters });
      await thick.create();
      await thin.create();
      const booked = before - (await readCapacity());
      expect(Number(booked)).toBeGreaterThanOrEqual(2 * volumeBytes);
      expect(Number(booked)).toBeLessThan(2 * volumeBytes + mebibyte);
      await thick.delete();
      await thin.delete();
    });

    test("a full disk refuses the next volume, makes nothing, and leaves the others alone", async () => {
      const volume = bed.volume({ name: "before-full", sizeBytes: volumeBytes, access: block });
      await volume.start();
      const ballast = join(bed.poolPath, "../ballast");
      const { bavail, bsize } = await statfs(bed.poolPath);
      await runCommand("fallocate", ["-l", String(bavail * bsize - 8 * mebibyte), ballast]);
      for (const provisioning of ["thick", "thin"]) {
        const late = bed.volume({
          name: `late-${provisioning}`,
          sizeBytes: volumeBytes,
          access: block,
          parameters: { provisioning },
        });
        await expect(late.create()).rejects.toMatchObject({
          code: Code.RESOURCE_EXHAUSTED,
          details: expect.stringContaining("disk"),
        });
      }
      expect(await readdir(join(bed.poolPath, "volumes"))).toEqual([volume.id]);
      await fill(volume.targetPath);
      await runCommand("rm", [ballast]);
      const later = bed.volume({ name: "late-thick", sizeBytes: volumeBytes, access: block });
      await later.create();
      await later.delete();
      await volume.finish();
    });

    test("a memory pool holds its budget", async () => {
      const sizeBytes = 400 * mebibyte;
      const parameters = { pool: "memory" };
      const first = bed.volume({ name: "memory-first", sizeBytes, access: block, parameters });
      const second = bed.volume({ name: "memory-second", sizeBytes, access: block, parameters });
      await first.create();
      await expect(second.create()).rejects.toMatchObject({ code: Code.RESOURCE_EXHAUSTED });
      await first.delete();
      await second.create();
      await second.delete();
    });
  });
});
