import { spawn } from "node:child_process";
import { once } from "node:events";
import { open } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "@jest/globals";
import {
  type DeviceEvent,
  freeze,
  type LatencyHistogram,
  recoverAndServe,
  type UblkDevice,
} from "../../../src/ublk/index.js";
import { startVerifiedWrites } from "./support/background-fio.js";
import { waitForIo } from "./support/completed-io.js";
import { DeviceServer } from "./support/device-server.js";
import { runFio } from "./support/fio.js";
import { failure, mebibyte, sizeBytes, useLibraryRig } from "./support/library-rig.js";
import { runCommand } from "./support/run-command.js";
import { onlyInFull } from "./support/scale.js";
import { waitFor } from "./support/wait-for.js";

const rig = useLibraryRig();

describe("limits", () => {
  /** How many operations per second fio gets, after a second for the burst to be used up. */
  async function measureIops(
    device: UblkDevice,
    rw: "randread" | "randwrite" | "randrw",
    bytes = 4096,
  ): Promise<number> {
    const load = { filename: device.path, rw, bs: bytes, size: sizeBytes, direct: 1, ioengine: "io_uring", iodepth: 8 };
    const seconds = 3;
    const [result] = await runFio({ load: { ...load, time_based: 1, runtime: seconds, ramp_time: 1 } });
    return ((result?.readIos ?? 0) + (result?.writeIos ?? 0)) / seconds;
  }

  /**
   * Never more than 5 % above the limit. A host that has no time for the guest brings it below, so only the best of a few
   * measurements has to come within 5 % from there.
   */
  async function expectWithin5Percent(wanted: number, measure: () => Promise<number>): Promise<void> {
    const measured: number[] = [];
    while (measured.length < 4 && !measured.some((rate) => rate > wanted * 0.95)) measured.push(await measure());
    expect(Math.max(...measured)).toBeGreaterThan(wanted * 0.95);
    expect(Math.max(...measured)).toBeLessThan(wanted * 1.05);
  }

  // A processor that is emulated, beside another guest, may be too slow for the load itself.
  onlyInFull(() => {
    test("operations and bytes per second are kept within 5 %, and change while I/O runs", async () => {
      const { device } = await rig.serveFile({ queueCount: 2, limits: { writeIops: 400 } });
      await expectWithin5Percent(400, () => measureIops(device, "randwrite"));
      await device.setLimits({ bytesPerSecond: 2 * mebibyte });
      await expectWithin5Percent(128, () => measureIops(device, "randrw", 16_384));

      await device.setLimits({ readIops: 10 });
      const slow = measureIops(device, "randread");
      await waitForIo(device.deviceId, 5);
      await device.setLimits({ readIops: 300 });
      expect(await slow).toBeGreaterThan(30);
      await expectWithin5Percent(300, () => measureIops(device, "randread"));
      const { throttled, throttledNs, waiting } = device.stats();
      expect(throttled).toBeGreaterThan(500n);
      expect(throttledNs).toBeGreaterThan(1_000_000_000n);
      expect(waiting).toBe(0);

      await device.setLimits({ iops: 1 });
      const stuck = runFio({
        one: { filename: device.path, rw: "write", bs: "4k", size: "64k", direct: 1, iodepth: 1 },
      });
      await waitFor("a request waits", () => device.stats().waiting > 0);
      await runCommand("blockdev", ["--flushbufs", device.path]);
      await device.setLimits({});
      await stuck;
      await device.stop();
    });

    test("a stop is not held up by a limit", async () => {
      const { device } = await rig.serveFile({ limits: { iops: 2 } });
      await runCommand("dd", ["if=/dev/zero", `of=${device.path}`, "bs=1M", "count=1", "status=none"], {
        timeoutMs: 60_000,
      });
      const before = performance.now();
      await device.stop();
      expect(performance.now() - before).toBeLessThan(10_000);
    });
  });
});

describe("freeze", () => {
  test("holds I/O without an error, makes what was written durable, and lets it go on", async () => {
    const { path, device } = await rig.serveFile({ queueCount: 2 });
    const writer = startVerifiedWrites(device, { sizeBytes, seconds: 2 });
    await writer.running;
    await freeze(device, { deadlineMs: 30_000 });
    expect(device.stats()).toMatchObject({ frozen: true, inFlight: 0 });
    const first = await runCommand("md5sum", [path]);
    await waitFor("requests wait", () => device.stats().waiting > 0);
    expect(await runCommand("md5sum", [path])).toBe(first);
    expect((await failure(freeze(device, { deadlineMs: 1000 }))).code).toBe("device_frozen");
    expect(await device.thaw()).toBe(true);
    await writer.done;
    expect(device.stats()).toMatchObject({ frozen: false, waiting: 0, errors: 0n });
    await device.stop();
  });

  test("a group is frozen at one instant: what one writer wrote in turn is a prefix", async () => {
    const images = [await rig.serveFile(), await rig.serveFile(), await rig.serveFile()];
    const devices = images.map(({ device }) => device);
    const script = `
      const { openSync, writeSync, constants } = require("node:fs");
      const fds = process.argv.slice(1).map((path) => openSync(path, constants.O_WRONLY | constants.O_SYNC));
      const block = Buffer.alloc(512);
      for (let number = 1; ; number++) {
        block.writeUInt32LE(number);
        writeSync(fds[number % fds.length], block, 0, 512, 0);
      }`;
    const writer = spawn(process.execPath, ["-e", script, ...devices.map(({ path }) => path)], { stdio: "inherit" });
    for (const { deviceId } of devices) await waitForIo(deviceId, 5);
    for (let round = 0; round < 5; round++) {
      await freeze(devices, { deadlineMs: 30_000 });
      const numbers = await Promise.all(images.map(({ path }) => readNumber(path)));
      await Promise.all(devices.map((device) => device.thaw()));
      const last = Math.max(...numbers);
      const expected = images.map((_image, index) => last - ((last - index + 3) % 3));
      expect(numbers).toEqual(expected);
      await waitForIo(devices[0]?.deviceId ?? 0, 5);
    }
    const exited = once(writer, "exit");
    writer.kill("SIGKILL");
    await exited;
    for (const device of devices) await device.stop();
  });

  test("ends by itself at its deadline, though JavaScript is busy", async () => {
    const { device } = await rig.serveFile();
    const events: DeviceEvent[] = [];
    device.onEvent((event) => events.push(event));
    await freeze(device, { deadlineMs: 300 });
    const reader = spawn("dd", [`if=${device.path}`, "of=/dev/null", "bs=4k", "count=1", "iflag=direct"], {
      stdio: "ignore",
    });
    const exited = once(reader, "exit");
    const before = performance.now();
    while (performance.now() - before < 1000);
    expect((await exited)[0]).toBe(0);
    await waitFor("the event", () => events.length > 0);
    expect(events).toEqual([{ kind: "thawed" }]);
    expect(await device.thaw()).toBe(false);
    await device.stop();
  });

  onlyInFull(() => {
    test("a frozen device can be stopped, with I/O waiting in it", async () => {
      const { device } = await rig.serveFile();
      await freeze(device, { deadlineMs: 60_000 });
      const writer = runCommand("dd", [
        "if=/dev/zero",
        `of=${device.path}`,
        "bs=4k",
        "count=1",
        "oflag=direct",
        "status=none",
      ]);
      await waitFor("requests wait", () => device.stats().waiting > 0);
      const stopping = device.stop();
      await writer;
      await stopping;
    });
  });

  onlyInFull(() => {
    test("a server that dies while its device is frozen loses nothing", async () => {
      const path = await rig.images.createImage(sizeBytes);
      const server = await DeviceServer.start({
        create: [{ target: { kind: "file", path } }, { recoverable: true }],
        freezeMs: 60_000,
      });
      const device = { path: `/dev/ublkb${server.deviceId}`, deviceId: server.deviceId };
      const writer = runFio({
        one: { filename: device.path, rw: "write", bs: "4k", size: sizeBytes, direct: 1, verify: "crc32c" },
      });
      await delay(200);
      await server.kill();
      const again = await recoverAndServe(server.deviceId, { kind: "file", path });
      await writer;
      expect(again.stats().errors).toBe(0n);
      await again.stop();
    });
  });
});

async function readNumber(path: string): Promise<number> {
  const file = await open(path, "r");
  const { buffer } = await file.read(Buffer.alloc(512), 0, 512, 0);
  await file.close();
  return buffer.readUInt32LE(0);
}

describe("statistics", () => {
  function countOf({ count, buckets }: LatencyHistogram): bigint {
    expect(buckets.reduce((sum, bucket) => sum + bucket.count, 0n)).toBe(count);
    return count;
  }

  onlyInFull(() => {
    test("every operation is in one bucket of its histogram, and reading disturbs nothing", async () => {
      const { device } = await rig.serveFile({ queueCount: 2 });
      const writer = startVerifiedWrites(device, { sizeBytes, seconds: 1 });
      await writer.running;
      for (let i = 0; i < 1000; i++) device.stats();
      await writer.done;
      await runCommand("blkdiscard", ["--offset", "0", "--length", String(mebibyte), device.path]);
      await runCommand("blkdiscard", ["--zeroout", "--offset", "0", "--length", String(mebibyte), device.path]);
      const { latency, ...stats } = device.stats();
      expect(countOf(latency.read)).toBe(stats.reads);
      expect(countOf(latency.write)).toBe(stats.writes);
      expect(countOf(latency.flush)).toBe(stats.flushes);
      expect(countOf(latency.discard)).toBe(stats.discards);
      expect(countOf(latency.writeZeroes)).toBe(stats.writeZeroes);
      expect(stats).toMatchObject({ discardBytes: BigInt(mebibyte), writeZeroesBytes: BigInt(mebibyte), inFlight: 0 });
      expect(latency.write.sumNs).toBeGreaterThan(0n);
      await device.stop();
    });
  });
});
