import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { readBlockAttribute } from "./support/device-io.js";
import { runFio, verifyOptions } from "./support/fio.js";
import { byScale } from "./support/scale.js";
import { TestBed } from "./support/test-bed.js";

const mebibyte = 1024 ** 2;
const volumeBytes = 8 * mebibyte;
const jobBytes = byScale({ full: 2 * mebibyte, smoke: mebibyte });

interface Geometry {
  pool: "disk" | "memory";
  queues: number;
  queueDepth: number;
  blockBytes: number;
}

/** One pass over every value of every dimension, rather than their product. */
const chosen: Geometry[] = [
  { pool: "disk", queues: 1, queueDepth: 128, blockBytes: 512 },
  { pool: "disk", queues: 2, queueDepth: 64, blockBytes: 4096 },
  { pool: "disk", queues: 4, queueDepth: 1, blockBytes: 512 },
  { pool: "memory", queues: 4, queueDepth: 64, blockBytes: 4096 },
];

const product: Geometry[] = (["disk", "memory"] as const).flatMap((pool) =>
  [1, 2, 4].flatMap((queues) =>
    [1, 64, 128].flatMap((queueDepth) => [512, 4096].map((blockBytes) => ({ pool, queues, queueDepth, blockBytes }))),
  ),
);

let bed: TestBed;

beforeAll(async () => {
  bed = await TestBed.start("fio");
});
afterAll(async () => await bed.dispose());

/** Random writes of every size from a block up, each read back and compared with its checksum. */
function jobsFor(filename: string, blockBytes: number) {
  const shared = {
    ...verifyOptions,
    filename,
    rw: "randwrite",
    bsrange: `${blockBytes}-65536`,
    blockalign: blockBytes,
    size: jobBytes,
  };
  return {
    direct: { ...shared, ioengine: "libaio", iodepth: 32, direct: 1 },
    buffered: { ...shared, ioengine: "psync", offset: volumeBytes / 2, fsync: 16 },
  };
}

describe("fio with crc32c verification, O_DIRECT and buffered", () => {
  test.each(byScale({ full: product, smoke: chosen }))(
    "pool $pool, $queues queues of depth $queueDepth, blocks of $blockBytes bytes",
    async ({ pool, queues, queueDepth, blockBytes }) => {
      const name = `fio-${pool}-${queues}-${queueDepth}-${blockBytes}`;
      const parameters = {
        pool,
        queues: String(queues),
        queueDepth: String(queueDepth),
        logicalBlockSize: String(blockBytes),
      };
      const volume = bed.volume({ name, sizeBytes: volumeBytes, access: { kind: "block" }, parameters });
      await volume.start();
      const device = `/dev/ublkb${await volume.findDeviceId()}`;
      expect(await readBlockAttribute(device, "queue/logical_block_size")).toBe(String(blockBytes));
      expect(await readBlockAttribute(device, "mq/0/nr_tags")).toBe(String(queueDepth));
      const results = await runFio(jobsFor(volume.targetPath, blockBytes));
      expect(results.map(({ name }) => name)).toEqual(["direct", "buffered"]);
      for (const { readIos, writeIos } of results) {
        expect(writeIos).toBeGreaterThanOrEqual(jobBytes / 65536);
        // Verified is what was written last of each block, so never more.
        expect(readIos).toBeGreaterThan(0);
      }
      await volume.finish();
    },
  );

  test("several processes on one mounted volume", async () => {
    const access = { kind: "mount", fsType: "xfs" } as const;
    const parameters = { queues: "2" };
    const volume = bed.volume({ name: "fio-mounted", sizeBytes: 320 * mebibyte, access, parameters });
    await volume.start();
    const shared = { ...verifyOptions, directory: volume.targetPath, rw: "randwrite", numjobs: 2, size: jobBytes };
    const results = await runFio({
      direct: { ...shared, bs: "4k", ioengine: "libaio", iodepth: 16, direct: 1 },
      buffered: { ...shared, bs: "4k", ioengine: "psync", fsync_on_close: 1 },
    });
    expect(results.map(({ writeIos }) => writeIos)).toEqual(Array(4).fill(jobBytes / 4096));
    await volume.finish();
  });
});
