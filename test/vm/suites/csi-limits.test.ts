import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { ControllerModifyVolumeRequest, ControllerService } from "../../../src/gen/csi/csi.js";
import { runFio } from "./support/fio.js";
import { byScale } from "./support/scale.js";
import { TestBed } from "./support/test-bed.js";
import type { TestVolume } from "./support/test-volume.js";

const mebibyte = 1024 ** 2;
/**
 * A guest that shares its processors stands still now and then. What it misses it makes up for out of this, and what an
 * idle device has saved up is gone before the measurement begins.
 */
const burst = "500ms";

let bed: TestBed;

beforeAll(async () => {
  bed = await TestBed.start("limits");
});
afterAll(async () => await bed.dispose());

async function modify({ id }: TestVolume, mutableParameters: Record<string, string>): Promise<void> {
  const request = ControllerModifyVolumeRequest.fromPartial({ volumeId: id, mutableParameters });
  await bed.driver.client.call(ControllerService.controllerModifyVolume, request);
}

/** Requests each second, of so many bytes, at a depth that keeps the device busy. */
async function measure({ targetPath }: TestVolume, rw: "randread" | "randwrite", blockBytes: number): Promise<number> {
  const [result] = await runFio({
    load: {
      filename: targetPath,
      rw,
      bs: blockBytes,
      size: 16 * mebibyte,
      direct: 1,
      ioengine: "io_uring",
      iodepth: 8,
      time_based: 1,
      ramp_time: 1,
      runtime: 5,
    },
  });
  return result?.iops ?? Number.NaN;
}

/**
 * Never more than a tenth above the limit. A machine that has no time for the guest brings it below, so that only the best
 * of a few measurements has to come within a tenth from there.
 */
async function expectLimit(limit: number, measureOnce: () => Promise<number>): Promise<void> {
  const measured: number[] = [];
  while (measured.length < 4 && !measured.some((rate) => rate > limit * 0.9)) measured.push(await measureOnce());
  expect(Math.max(...measured)).toBeGreaterThan(limit * 0.9);
  expect(Math.max(...measured)).toBeLessThan(limit * 1.1);
}

async function createVolume(name: string, parameters: Record<string, string> = {}): Promise<TestVolume> {
  const volume = bed.volume({ name, sizeBytes: 16 * mebibyte, access: { kind: "block" }, parameters });
  await volume.start();
  return volume;
}

// The engine limits both in one way.
test.each(byScale({ full: ["disk", "memory"], smoke: ["disk"] }))(
  "fio feels a modified volume at once, and until it is modified again (pool %s)",
  async (pool) => {
    const volume = await createVolume(`modified-${pool}`, { pool });
    expect(await measure(volume, "randread", 4096)).toBeGreaterThan(600);

    await modify(volume, { iops: "300", burst });
    await expectLimit(300, () => measure(volume, "randread", 4096));
    await expectLimit(300, () => measure(volume, "randwrite", 4096));

    await modify(volume, { writeIops: "200", burst });
    await expectLimit(200, () => measure(volume, "randwrite", 4096));
    expect(await measure(volume, "randread", 4096)).toBeGreaterThan(600);

    await modify(volume, { bandwidth: "8Mi", burst });
    await expectLimit(128, () => measure(volume, "randread", 65536));

    await modify(volume, { readBandwidth: "4Mi", burst });
    await expectLimit(128, () => measure(volume, "randread", 32768));

    await modify(volume, { iops: "unlimited" });
    expect(await measure(volume, "randread", 4096)).toBeGreaterThan(600);
    await volume.finish();
  },
  300_000,
);

test("limits stay over a kill of the driver and over a staging, and a StorageClass may have them", async () => {
  const volume = await createVolume("kept", { iops: "250", burst });
  await expectLimit(250, () => measure(volume, "randread", 4096));
  await modify(volume, { iops: "400" });
  await bed.driver.kill();
  await bed.restart();
  await expectLimit(400, () => measure(volume, "randread", 4096));
  await volume.unpublish();
  await volume.unstage();
  await volume.stage();
  await volume.publish();
  await expectLimit(400, () => measure(volume, "randread", 4096));
  await volume.finish();
}, 300_000);

test("what is refused changes nothing", async () => {
  const volume = await createVolume("refused", { iops: "300", burst });
  await expect(modify(volume, { iops: "1000", colour: "red" })).rejects.toMatchObject({ code: 3 });
  await expect(modify(volume, { iops: "many" })).rejects.toMatchObject({ code: 3 });
  await expectLimit(300, () => measure(volume, "randread", 4096));
  await volume.finish();
}, 120_000);
