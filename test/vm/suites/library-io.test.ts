import { truncate } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "@jest/globals";
import { createAndServe, type DeviceEvent, type DeviceParams, stopAndDelete } from "../../../src/ublk/index.js";
import {
  compareDevice,
  createRandomFile,
  readAllocatedBytes,
  readBlockAttribute,
  writeToDevice,
} from "./support/device-io.js";
import { findInfo, mebibyte, sizeBytes, useLibraryRig } from "./support/library-rig.js";
import { runCommand, tryCommand } from "./support/run-command.js";
import { byScale } from "./support/scale.js";
import { waitFor } from "./support/wait-for.js";

/** Many devices on an emulated kernel take their time. */
const patient = { timeoutMs: 150_000 };
const deviceCount = byScale({ full: 50, smoke: 8 });

/** One process for many devices: starting one takes long where the kernel is emulated. */
const writeToEach = 'data=$1; shift; tee "$@" < "$data" > /dev/null; sync "$@"';
const compareEach = 'data=$1; shift; for copy in "$@"; do cmp "$data" "$copy"; done';

const rig = useLibraryRig();

describe("targets", () => {
  const targets: [string, () => Promise<DeviceParams["target"]>][] = [
    ["null", async () => ({ kind: "null" })],
    ["memory", async () => ({ kind: "memory" })],
    [
      "memory in a file on tmpfs",
      async () => ({ kind: "memory", path: await rig.images.createImage(sizeBytes, rig.scratch) }),
    ],
    ["file", async () => ({ kind: "file", path: await rig.images.createImage(sizeBytes) })],
  ];

  test.each(targets)("%s: a device appears with its size, is listed, and goes", async (_name, makeTarget) => {
    const device = await createAndServe({ target: await makeTarget(), sizeBytes });
    expect(await readBlockAttribute(device.path, "size")).toBe(String(sizeBytes / 512));
    const info = { deviceId: device.deviceId, state: "live", serverPid: process.pid, sizeBytes: BigInt(sizeBytes) };
    expect(await findInfo(device.deviceId)).toMatchObject(info);
    await stopAndDelete(device);
    expect(device.state).toBe("stopped");
    expect(await findInfo(device.deviceId)).toBeUndefined();
  });

  test.each(targets.slice(1))("%s: gives back what was written", async (_name, makeTarget) => {
    const device = await createAndServe({ target: await makeTarget(), sizeBytes });
    const data = await createRandomFile(join(rig.scratch, "data"), sizeBytes);
    await writeToDevice(data, device.path);
    await compareDevice(data, device.path);
    expect(device.stats()).toMatchObject({ writeBytes: BigInt(sizeBytes), errors: 0n });
    await device.stop();
  });

  test("null: reads zeros", async () => {
    const device = await createAndServe({ target: { kind: "null" }, sizeBytes });
    await runCommand("cmp", ["-n", String(mebibyte), device.path, "/dev/zero"]);
    await device.stop();
  });
});

describe("geometry", () => {
  const shapes = byScale({
    full: [
      [1, 1],
      [1, 128],
      [2, 3],
    ],
    smoke: [[2, 3]],
  });
  const geometries = [512, 4096].flatMap((logicalBlockSizeBytes) =>
    shapes.map(([queueCount = 1, queueDepth = 1]) => ({ logicalBlockSizeBytes, queueCount, queueDepth })),
  );

  test.each(geometries)("%o: the image has the bytes that were written", async (geometry) => {
    const { path, device } = await rig.serveFile(geometry);
    expect(await readBlockAttribute(device.path, "queue/logical_block_size")).toBe(
      String(geometry.logicalBlockSizeBytes),
    );
    expect(await readBlockAttribute(device.path, "size")).toBe(String(sizeBytes / 512));
    expect(device).toMatchObject({ queueCount: geometry.queueCount, queueDepth: geometry.queueDepth });
    const data = await createRandomFile(join(rig.scratch, "data"), sizeBytes);
    await writeToDevice(data, device.path, { direct: true, blockBytes: geometry.logicalBlockSizeBytes * 16 });
    await compareDevice(data, device.path);
    await device.stop();
    await runCommand("cmp", [data, path]);
  });

  test("the last block of a device can be written and read", async () => {
    const { path, device } = await rig.serveFile({ logicalBlockSizeBytes: 4096 }, sizeBytes + 4096);
    const data = await createRandomFile(join(rig.scratch, "last"), 4096);
    await writeToDevice(data, device.path, { blockBytes: 4096, seekBlocks: sizeBytes / 4096, direct: true });
    await device.stop();
    await runCommand("cmp", ["-i", `0:${sizeBytes}`, data, path]);
  });

  test("requests are no larger than maxIoBytes", async () => {
    const { device } = await rig.serveFile({ maxIoBytes: 16384 });
    expect(await readBlockAttribute(device.path, "queue/max_sectors_kb")).toBe("16");
    await device.stop();
  });

  test("a wanted id is the id of the device", async () => {
    const { device } = await rig.serveFile({ deviceId: 33 });
    expect(device.path).toBe("/dev/ublkb33");
    await device.stop();
  });
});

describe("semantics", () => {
  test("fsync reaches the target as a flush", async () => {
    const { device } = await rig.serveFile();
    const before = device.stats().flushes;
    await writeToDevice(await createRandomFile(join(rig.scratch, "data"), 4096), device.path, { blockBytes: 4096 });
    expect(device.stats().flushes).toBeGreaterThan(before);
    await device.stop();
  });

  test("dirty pages reach the image before stop returns", async () => {
    const { path, device } = await rig.serveFile();
    const data = await createRandomFile(join(rig.scratch, "data"), 2 * mebibyte);
    await runCommand("dd", [`if=${data}`, `of=${device.path}`, "bs=1M", "conv=notrunc", "status=none"]);
    await device.stop();
    await runCommand("cmp", ["-n", String(2 * mebibyte), data, path]);
  });

  test("a read-only device refuses writes and needs no right to write its image", async () => {
    const { path, device } = await rig.serveFile({ readOnly: true });
    expect(await readBlockAttribute(device.path, "ro")).toBe("1");
    const args = ["if=/dev/zero", `of=${device.path}`, "bs=4096", "count=1", "conv=notrunc,fsync"];
    expect((await tryCommand("dd", args)).exitCode).not.toBe(0);
    await device.stop();
    expect(await readAllocatedBytes(path)).toBe(0);
  });

  test("discard gives the space back, and leaves zeros", async () => {
    const { path, device } = await rig.serveFile();
    await writeToDevice(await createRandomFile(join(rig.scratch, "data"), sizeBytes), device.path);
    expect(await readAllocatedBytes(path)).toBeGreaterThanOrEqual(sizeBytes);
    await runCommand("blkdiscard", ["--offset", String(mebibyte), "--length", String(2 * mebibyte), device.path]);
    expect(await readAllocatedBytes(path)).toBeLessThanOrEqual(sizeBytes - 2 * mebibyte);
    await runCommand("cmp", ["-i", String(mebibyte), "-n", String(2 * mebibyte), device.path, "/dev/zero"]);
    expect(device.stats().discards).toBeGreaterThan(0n);
    await device.stop();
  });

  test("without discard the device does not offer it", async () => {
    const { path, device } = await rig.serveFile({ discard: false });
    await writeToDevice(await createRandomFile(join(rig.scratch, "data"), mebibyte), device.path);
    expect((await tryCommand("blkdiscard", [device.path])).exitCode).not.toBe(0);
    expect(await readAllocatedBytes(path)).toBeGreaterThanOrEqual(mebibyte);
    await device.stop();
  });

  test("zeroing a range writes zeros", async () => {
    const { path, device } = await rig.serveFile();
    const data = await createRandomFile(join(rig.scratch, "data"), sizeBytes);
    await writeToDevice(data, device.path);
    await runCommand("blkdiscard", ["--zeroout", "--offset", "4096", "--length", String(mebibyte), device.path]);
    await device.stop();
    await runCommand("cmp", ["-i", "4096", "-n", String(mebibyte), path, "/dev/zero"]);
    await runCommand("cmp", ["-i", String(4096 + mebibyte), data, path]);
  });

  test("an I/O error of the image reaches the user and the listener", async () => {
    const { path, device } = await rig.serveFile();
    const events: DeviceEvent[] = [];
    device.onEvent((event) => events.push(event));
    await truncate(path, 0);
    const read = await tryCommand("dd", [`if=${device.path}`, "of=/dev/null", "bs=4096", "count=1", "iflag=direct"]);
    expect(read.exitCode).not.toBe(0);
    await waitFor("the event arrives", () => events.length > 0);
    expect(events[0]).toMatchObject({ kind: "io-error", operation: "read", errnoName: "EIO", offsetBytes: 0n });
    expect(device.stats().errors).toBeGreaterThan(0n);
    await device.stop();
  });

  test(`${deviceCount} devices serve at once`, async () => {
    const options = { queueCount: 2, queueDepth: 16 };
    const served = await Promise.all(Array.from({ length: deviceCount }, () => rig.serveFile(options, mebibyte)));
    const devices = served.map(({ device }) => device);
    expect(new Set(devices.map(({ deviceId }) => deviceId)).size).toBe(deviceCount);
    const data = await createRandomFile(join(rig.scratch, "data"), mebibyte);
    const paths = devices.map(({ path }) => path);
    await runCommand("bash", ["-ec", writeToEach, "write", data, ...paths], patient);
    const files = served.map(({ path }) => path);
    await runCommand("bash", ["-ec", compareEach, "compare", data, ...paths, ...files], patient);
    await Promise.all(devices.map((device) => device.stop()));
  }, 400_000);
});
