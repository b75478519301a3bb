import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "@jest/globals";
import { type Backend, createAndServe, type DeviceEvent, recoverAndServe, UblkError } from "../../../src/ublk/index.js";
import { compareDevice, createRandomFile, readBlockAttribute, writeToDevice } from "./support/device-io.js";
import { DeviceServer } from "./support/device-server.js";
import { runFio, verifyOptions } from "./support/fio.js";
import { findInfo, mebibyte, sizeBytes, useLibraryRig, waitForState } from "./support/library-rig.js";
import { MemoryBackend } from "./support/memory-backend.js";
import { runCommand, tryCommand } from "./support/run-command.js";
import { byScale } from "./support/scale.js";
import { waitFor } from "./support/wait-for.js";

const rig = useLibraryRig();
const runtimeS = byScale({ full: 3, smoke: 2 });

/** Keeps the event loop busy, as a backend that computes does. */
function block(milliseconds: number): void {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

describe("a backend in JavaScript", () => {
  test("serves what was written, with many requests in flight in several queues", async () => {
    const size = 16 * mebibyte;
    const device = await createAndServe(
      { target: { kind: "js", backend: new MemoryBackend(size) } },
      { queueCount: 2 },
    );
    const mix = { filename: device.path, ioengine: "io_uring", direct: 1, rw: "randwrite", bsrange: "4k-128k", size };
    await runFio({ verify: { ...mix, iodepth: 32, numjobs: 1, ...verifyOptions } });
    expect(device.stats()).toMatchObject({ errors: 0n });
    await device.stop();
  });

  test("may answer later and in another order", async () => {
    const memory = new MemoryBackend(sizeBytes);
    const backend: Backend = {
      size: memory.size,
      readAt: async (buffer, offset) => {
        await delay(offset % 3);
        memory.readAt(buffer, offset);
      },
      writeAt: async (buffer, offset) => {
        await delay((offset / 4096) % 5);
        memory.writeAt(buffer, offset);
        return buffer.length;
      },
    };
    const device = await createAndServe({ target: { kind: "js", backend } });
    const mix = { filename: device.path, ioengine: "io_uring", direct: 1, rw: "randwrite", bs: "4k", size: mebibyte };
    await runFio({ verify: { ...mix, iodepth: 16, ...verifyOptions } });
    await device.stop();
  });

  test("is announced with the abilities it has", async () => {
    const memory = new MemoryBackend(sizeBytes);
    const able = await createAndServe({ target: { kind: "js", backend: Object.assign(memory, { flush: () => {} }) } });
    expect(await readBlockAttribute(able.path, "queue/write_cache")).toBe("write back");
    expect(await readBlockAttribute(able.path, "queue/discard_max_bytes")).not.toBe("0");
    expect(await readBlockAttribute(able.path, "queue/write_zeroes_max_bytes")).not.toBe("0");
    await able.stop();
    const plain = { size: memory.size, readAt: () => {}, writeAt: () => {} };
    const device = await createAndServe({ target: { kind: "js", backend: plain } });
    expect(await readBlockAttribute(device.path, "queue/write_cache")).toBe("write through");
    expect(await readBlockAttribute(device.path, "queue/discard_max_bytes")).toBe("0");
    expect(await readBlockAttribute(device.path, "queue/write_zeroes_max_bytes")).toBe("0");
    await device.stop();
  });

  test("hears of flushes, discards and zeroing", async () => {
    const heard: string[] = [];
    const backend: Backend = {
      size: BigInt(sizeBytes),
      readAt: (buffer) => void buffer.fill(0),
      writeAt: () => {},
      flush: async () => void heard.push("flush"),
      trim: (offset, length) => void heard.push(`trim ${offset} ${length}`),
      writeZeroes: (offset, length) => void heard.push(`zeroes ${offset} ${length}`),
    };
    const device = await createAndServe({ target: { kind: "js", backend } });
    await runCommand("blkdiscard", ["--offset", "8192", "--length", "65536", device.path]);
    await runCommand("blkdiscard", ["--zeroout", "--offset", "4096", "--length", "4096", device.path]);
    await runCommand("dd", [
      "if=/dev/zero",
      `of=${device.path}`,
      "bs=4096",
      "count=1",
      "conv=fsync,notrunc",
      "status=none",
    ]);
    expect(heard).toEqual(expect.arrayContaining(["trim 8192 65536", "zeroes 4096 4096", "flush"]));
    await device.stop();
  });

  test("an error of it reaches the user, the listener and onError", async () => {
    const full = Object.assign(new Error("the pool is full"), { code: "ENOSPC" });
    const heard: unknown[] = [];
    const backend: Backend = {
      size: BigInt(sizeBytes),
      readAt: (buffer) => void buffer.fill(0),
      writeAt: () => Promise.reject(full),
    };
    const device = await createAndServe({ target: { kind: "js", backend, onError: (error) => heard.push(error) } });
    const events: DeviceEvent[] = [];
    device.onEvent((event) => events.push(event));
    const args = ["if=/dev/zero", `of=${device.path}`, "bs=4096", "count=1", "seek=3", "oflag=direct", "conv=notrunc"];
    expect((await tryCommand("dd", args)).stderr).toContain("No space left on device");
    await waitFor("the event arrives", () => events.length > 0);
    expect(events[0]).toMatchObject({ errnoName: "ENOSPC", offsetBytes: 12288n, lengthBytes: 4096 });
    expect(heard).toEqual([full]);
    await device.stop();
  });

  test("that blocks the event loop does not slow a native device down", async () => {
    const memory = new MemoryBackend(sizeBytes);
    const slow: Backend = {
      size: memory.size,
      readAt: (buffer, offset) => {
        block(1500);
        memory.readAt(buffer, offset);
      },
      writeAt: () => {},
    };
    const native = await createAndServe({ target: { kind: "memory" }, sizeBytes });
    const device = await createAndServe({ target: { kind: "js", backend: slow } });
    const reading = runCommand("dd", [`if=${device.path}`, "of=/dev/null", "bs=4096", "count=4", "iflag=direct"]);
    const job = { filename: native.path, ioengine: "io_uring", direct: 1, rw: "randread", bs: "4k", iodepth: 4 };
    // fio fails as soon as one request takes longer than max_latency.
    await runFio({ steady: { ...job, time_based: 1, runtime: runtimeS, max_latency: "1s" } });
    await reading;
    await device.stop();
    await native.stop();
  });

  test("cannot be killed with a request in flight and lose it: another process serves it", async () => {
    const path = await rig.images.createImage(sizeBytes);
    const target = { kind: "js", backend: { file: path } } as const;
    const server = await DeviceServer.start({ create: [{ target }, { recoverable: true, queueCount: 2 }] });
    const data = await createRandomFile(join(rig.scratch, "data"), sizeBytes);
    const writing = writeToDevice(data, `/dev/ublkb${server.deviceId}`, { direct: true, blockBytes: 65536 });
    await waitFor(
      "it writes",
      async () => {
        const stat = await readBlockAttribute(`/dev/ublkb${server.deviceId}`, "stat");
        return Number(stat.split(/\s+/)[4]) > 4;
      },
      { intervalMs: 0 },
    );
    await server.kill();
    await waitForState(server.deviceId, "quiesced");
    const next = await DeviceServer.start({ recover: [server.deviceId, target, {}] });
    await writing;
    await compareDevice(data, `/dev/ublkb${server.deviceId}`);
    expect(await next.exit()).toBe(0);
    await waitForState(server.deviceId, "quiesced");
    const device = await recoverAndServe(server.deviceId, { kind: "file", path });
    await compareDevice(data, device.path);
    await device.stop();
  });

  test("a process ends while its backend owes answers, and a recoverable device waits", async () => {
    const target = { kind: "js", backend: "deaf" } as const;
    const server = await DeviceServer.start({ create: [{ target }, { recoverable: true }] });
    const path = `/dev/ublkb${server.deviceId}`;
    const args = ["if=/dev/zero", `of=${path}`, "bs=4096", "count=1", "oflag=direct", "conv=notrunc", "status=none"];
    const writing = runCommand("dd", args);
    await waitFor(
      "the write is out",
      async () => Number((await readBlockAttribute(path, "inflight")).split(/\s+/)[1]) > 0,
    );
    expect(await server.exit()).toBe(0);
    await waitForState(server.deviceId, "quiesced");
    const device = await recoverAndServe(server.deviceId, { kind: "js", backend: new MemoryBackend(sizeBytes) });
    await writing;
    await device.stop();
  });

  test("a process ends while its backend owes answers, and another device fails them and goes", async () => {
    const server = await DeviceServer.start({ create: [{ target: { kind: "js", backend: "deaf" } }, {}] });
    const path = `/dev/ublkb${server.deviceId}`;
    const writing = tryCommand("dd", [
      "if=/dev/zero",
      `of=${path}`,
      "bs=4096",
      "count=1",
      "oflag=direct",
      "conv=notrunc",
    ]);
    await waitFor(
      "the write is out",
      async () => Number((await readBlockAttribute(path, "inflight")).split(/\s+/)[1]) > 0,
    );
    expect(await server.exit()).toBe(0);
    expect((await writing).exitCode).not.toBe(0);
    await waitFor("the device is gone", async () => (await findInfo(server.deviceId)) === undefined);
  });
});

describe("an image on a block device", () => {
  test("is served with its size, and gives space back to the disk below", async () => {
    const image = await rig.images.createImage(2 * sizeBytes);
    const loop = (await runCommand("losetup", ["--find", "--show", "--direct-io=on", image])).trim();
    try {
      const device = await createAndServe({ target: { kind: "file", path: loop } });
      expect(device).toMatchObject({ sizeBytes: BigInt(2 * sizeBytes), direct: true });
      const data = await createRandomFile(join(rig.scratch, "data"), 2 * sizeBytes);
      await writeToDevice(data, device.path, { direct: true });
      await compareDevice(data, device.path);
      const full = await allocatedBytes(image);
      await runCommand("blkdiscard", ["--offset", String(mebibyte), "--length", String(4 * mebibyte), device.path]);
      await runCommand("blkdiscard", ["--zeroout", "--offset", "0", "--length", String(mebibyte), device.path]);
      await runCommand("cmp", ["-n", String(mebibyte), device.path, "/dev/zero"]);
      expect(device.stats().errors).toBe(0n);
      await device.stop();
      expect(await allocatedBytes(image)).toBeLessThanOrEqual(full - 4 * mebibyte);
      await runCommand("cmp", ["-i", String(5 * mebibyte), data, loop]);
    } finally {
      await runCommand("losetup", ["--detach", loop]);
      await rm(image);
    }
  });

  test("may be of another process's ublk device, and not of one's own", async () => {
    const own = await createAndServe({ target: { kind: "memory" }, sizeBytes });
    const error = await createAndServe({ target: { kind: "file", path: own.path } }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(UblkError);
    expect(error).toMatchObject({ code: "image_unusable" });
    expect((error as UblkError).message).toContain("which this process serves itself");
    await own.stop();

    const other = await DeviceServer.start({ create: [{ target: { kind: "memory" }, sizeBytes }, {}] });
    const device = await createAndServe({ target: { kind: "file", path: `/dev/ublkb${other.deviceId}` } });
    const data = await createRandomFile(join(rig.scratch, "data"), mebibyte);
    await writeToDevice(data, device.path);
    await compareDevice(data, device.path);
    await device.stop();
    await other.exit();
  });
});

async function allocatedBytes(path: string): Promise<number> {
  return Number(await runCommand("stat", ["--format=%b", path])) * 512;
}
