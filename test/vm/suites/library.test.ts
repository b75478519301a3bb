import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, truncate } from "node:fs/promises";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import {
  createAndServe,
  type DeviceEvent,
  type DeviceParams,
  type DeviceState,
  getFeatures,
  listDevices,
  recoverAndServe,
  removeDevice,
  stopAndDelete,
  type UblkDevice,
  UblkError,
} from "../../../src/ublk/index.js";
import {
  compareDevice,
  createRandomFile,
  readAllocatedBytes,
  readBlockAttribute,
  writeToDevice,
} from "./support/device-io.js";
import { DeviceServer } from "./support/device-server.js";
import { ImageDirectory } from "./support/image-directory.js";
import { type MachineState, readMachineState, waitUntilNothingIsLeft } from "./support/machine-state.js";
import { type ProcessResources, readProcessResources } from "./support/process-resources.js";
import { runCommand, tryCommand } from "./support/run-command.js";
import { byScale } from "./support/scale.js";
import { waitFor } from "./support/wait-for.js";

const mebibyte = 1024 ** 2;
const sizeBytes = 4 * mebibyte;
/** Many devices on an emulated kernel take their time. */
const patient = { timeoutMs: 150_000 };
const deviceCount = byScale({ full: 50, smoke: 8 });

/** One process for many devices: starting one takes long where the kernel is emulated. */
const writeToEach = 'data=$1; shift; tee "$@" < "$data" > /dev/null; sync "$@"';
const compareEach = 'data=$1; shift; for copy in "$@"; do cmp "$data" "$copy"; done';

let images: ImageDirectory;
let scratch: string;
let resourcesBefore: ProcessResources;
let machineBefore: MachineState;

beforeAll(async () => {
  images = await ImageDirectory.create();
  scratch = await mkdtemp("/tmp/ublk-library-");
  // The first call starts the control thread, which stays for the life of the process.
  await getFeatures();
  resourcesBefore = await readProcessResources();
});

beforeEach(async () => {
  machineBefore = await readMachineState();
});

afterEach(async () => {
  await waitUntilNothingIsLeft(machineBefore);
});

afterAll(async () => {
  await waitUntilEqual(readProcessResources, resourcesBefore);
  await images.destroy();
  await rm(scratch, { recursive: true });
});

/** Threads end and mappings go a moment after the promise that announces it. */
async function waitUntilEqual<T>(read: () => Promise<T>, expected: T): Promise<void> {
  let now: T | undefined;
  const isEqual = async () => {
    now = await read();
    return isDeepStrictEqual(now, expected);
  };
  await waitFor("what it was before", isEqual, { timeoutMs: 5_000 }).catch(() => undefined);
  expect(now).toEqual(expected);
}

async function failure(promise: Promise<unknown>): Promise<UblkError> {
  const error = await promise.then(
    () => new Error("it succeeded, and was expected to fail"),
    (reason: unknown) => reason,
  );
  if (!(error instanceof UblkError)) throw error;
  return error;
}

async function withFile(options: Parameters<typeof createAndServe>[1] = {}, size = sizeBytes) {
  const path = await images.createImage(size);
  const device = await createAndServe({ target: { kind: "file", path } }, options);
  return { path, device };
}

async function findInfo(deviceId: number) {
  return (await listDevices()).find((info) => info.deviceId === deviceId);
}

/** The kernel changes the state when the last reference to the server's side is gone, a moment after its end. */
async function waitForState(deviceId: number, state: DeviceState): Promise<void> {
  await waitFor(`device ${deviceId} is ${state}`, async () => (await findInfo(deviceId))?.state === state);
}

describe("targets", () => {
  const targets: [string, () => Promise<DeviceParams["target"]>][] = [
    ["null", async () => ({ kind: "null" })],
    ["memory", async () => ({ kind: "memory" })],
    ["memory in a file on tmpfs", async () => ({ kind: "memory", path: await images.createImage(sizeBytes, scratch) })],
    ["file", async () => ({ kind: "file", path: await images.createImage(sizeBytes) })],
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
    const data = await createRandomFile(join(scratch, "data"), sizeBytes);
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
    const { path, device } = await withFile(geometry);
    expect(await readBlockAttribute(device.path, "queue/logical_block_size")).toBe(
      String(geometry.logicalBlockSizeBytes),
    );
    expect(await readBlockAttribute(device.path, "size")).toBe(String(sizeBytes / 512));
    expect(device).toMatchObject({ queueCount: geometry.queueCount, queueDepth: geometry.queueDepth });
    const data = await createRandomFile(join(scratch, "data"), sizeBytes);
    await writeToDevice(data, device.path, { direct: true, blockBytes: geometry.logicalBlockSizeBytes * 16 });
    await compareDevice(data, device.path);
    await device.stop();
    await runCommand("cmp", [data, path]);
  });

  test("the last block of a device can be written and read", async () => {
    const { path, device } = await withFile({ logicalBlockSizeBytes: 4096 }, sizeBytes + 4096);
    const data = await createRandomFile(join(scratch, "last"), 4096);
    await writeToDevice(data, device.path, { blockBytes: 4096, seekBlocks: sizeBytes / 4096, direct: true });
    await device.stop();
    await runCommand("cmp", ["-i", `0:${sizeBytes}`, data, path]);
  });

  test("requests are no larger than maxIoBytes", async () => {
    const { device } = await withFile({ maxIoBytes: 16384 });
    expect(await readBlockAttribute(device.path, "queue/max_sectors_kb")).toBe("16");
    await device.stop();
  });

  test("a wanted id is the id of the device", async () => {
    const { device } = await withFile({ deviceId: 33 });
    expect(device.path).toBe("/dev/ublkb33");
    await device.stop();
  });
});

describe("semantics", () => {
  test("fsync reaches the target as a flush", async () => {
    const { device } = await withFile();
    const before = device.stats().flushes;
    await writeToDevice(await createRandomFile(join(scratch, "data"), 4096), device.path, { blockBytes: 4096 });
    expect(device.stats().flushes).toBeGreaterThan(before);
    await device.stop();
  });

  test("dirty pages reach the image before stop returns", async () => {
    const { path, device } = await withFile();
    const data = await createRandomFile(join(scratch, "data"), 2 * mebibyte);
    await runCommand("dd", [`if=${data}`, `of=${device.path}`, "bs=1M", "conv=notrunc", "status=none"]);
    await device.stop();
    await runCommand("cmp", ["-n", String(2 * mebibyte), data, path]);
  });

  test("a read-only device refuses writes and needs no right to write its image", async () => {
    const { path, device } = await withFile({ readOnly: true });
    expect(await readBlockAttribute(device.path, "ro")).toBe("1");
    const args = ["if=/dev/zero", `of=${device.path}`, "bs=4096", "count=1", "conv=notrunc,fsync"];
    expect((await tryCommand("dd", args)).exitCode).not.toBe(0);
    await device.stop();
    expect(await readAllocatedBytes(path)).toBe(0);
  });

  test("discard gives the space back, and leaves zeros", async () => {
    const { path, device } = await withFile();
    await writeToDevice(await createRandomFile(join(scratch, "data"), sizeBytes), device.path);
    expect(await readAllocatedBytes(path)).toBeGreaterThanOrEqual(sizeBytes);
    await runCommand("blkdiscard", ["--offset", String(mebibyte), "--length", String(2 * mebibyte), device.path]);
    expect(await readAllocatedBytes(path)).toBeLessThanOrEqual(sizeBytes - 2 * mebibyte);
    await runCommand("cmp", ["-i", String(mebibyte), "-n", String(2 * mebibyte), device.path, "/dev/zero"]);
    expect(device.stats().discards).toBeGreaterThan(0n);
    await device.stop();
  });

  test("without discard the device does not offer it", async () => {
    const { path, device } = await withFile({ discard: false });
    await writeToDevice(await createRandomFile(join(scratch, "data"), mebibyte), device.path);
    expect((await tryCommand("blkdiscard", [device.path])).exitCode).not.toBe(0);
    expect(await readAllocatedBytes(path)).toBeGreaterThanOrEqual(mebibyte);
    await device.stop();
  });

  test("zeroing a range writes zeros", async () => {
    const { path, device } = await withFile();
    const data = await createRandomFile(join(scratch, "data"), sizeBytes);
    await writeToDevice(data, device.path);
    await runCommand("blkdiscard", ["--zeroout", "--offset", "4096", "--length", String(mebibyte), device.path]);
    await device.stop();
    await runCommand("cmp", ["-i", "4096", "-n", String(mebibyte), path, "/dev/zero"]);
    await runCommand("cmp", ["-i", String(4096 + mebibyte), data, path]);
  });

  test("an I/O error of the image reaches the user and the listener", async () => {
    const { path, device } = await withFile();
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
    const served = await Promise.all(Array.from({ length: deviceCount }, () => withFile(options, mebibyte)));
    const devices = served.map(({ device }) => device);
    expect(new Set(devices.map(({ deviceId }) => deviceId)).size).toBe(deviceCount);
    const data = await createRandomFile(join(scratch, "data"), mebibyte);
    const paths = devices.map(({ path }) => path);
    await runCommand("bash", ["-ec", writeToEach, "write", data, ...paths], patient);
    const files = served.map(({ path }) => path);
    await runCommand("bash", ["-ec", compareEach, "compare", data, ...paths, ...files], patient);
    await Promise.all(devices.map((device) => device.stop()));
  }, 400_000);
});

describe("errors", () => {
  test("a missing image", async () => {
    const error = await failure(createAndServe({ target: { kind: "file", path: join(scratch, "none") } }));
    expect(error).toMatchObject({ code: "image_missing", errnoName: "ENOENT" });
  });

  test("a size that is no multiple of the block", async () => {
    const path = await images.createImage(mebibyte + 512);
    const params = { target: { kind: "file", path } as const };
    const error = await failure(createAndServe(params, { logicalBlockSizeBytes: 4096 }));
    expect(error.code).toBe("size_misaligned");
  });

  test("a second device of the same id", async () => {
    const { device } = await withFile();
    const error = await failure(createAndServe({ target: { kind: "null" }, sizeBytes }, { deviceId: device.deviceId }));
    expect(error).toMatchObject({ code: "device_exists", step: "ADD_DEV", errnoName: "EEXIST" });
    expect(await findInfo(device.deviceId)).toMatchObject({ state: "live" });
    await device.stop();
  });

  test("a device that is not there", async () => {
    expect((await failure(removeDevice(777))).code).toBe("device_missing");
    expect((await failure(recoverAndServe(777, { kind: "null" }))).code).toBe("device_missing");
  });

  test("removal of a device that is served", async () => {
    const { device } = await withFile();
    expect((await failure(removeDevice(device.deviceId, { force: true }))).code).toBe("device_busy");
    expect((await failure(recoverAndServe(device.deviceId, { kind: "null" }, { waitMs: 50 }))).code).toBe(
      "not_recoverable",
    );
    expect(await findInfo(device.deviceId)).toMatchObject({ state: "live" });
    await device.stop();
  });

  test("without root", async () => {
    const script =
      'import("./dist/ublk/index.js").then(({ getFeatures }) => getFeatures()).catch((error) => console.log(error.code))';
    const args = ["--reuid", "nobody", "--regid", "nogroup", "--clear-groups", process.execPath, "-e", script];
    expect((await runCommand("setpriv", args)).trim()).toBe("permission_denied");
  });

  test("io_uring disabled", async () => {
    const script =
      'import("./dist/ublk/index.js").then(({ getFeatures }) => getFeatures()).catch((error) => console.log(error.code))';
    await runCommand("sysctl", ["-qw", "kernel.io_uring_disabled=2"]);
    try {
      expect((await runCommand(process.execPath, ["-e", script])).trim()).toBe("io_uring_disabled");
    } finally {
      await runCommand("sysctl", ["-qw", "kernel.io_uring_disabled=0"]);
    }
  });
});

describe("features", () => {
  test("getFeatures names what every supported kernel has", async () => {
    const names = (await getFeatures()).map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(["USER_RECOVERY", "USER_RECOVERY_REISSUE", "CMD_IOCTL_ENCODE"]));
  });

  test("a device gets what it asks for, and says so", async () => {
    const { device } = await withFile({ recoverable: true, ownerTag: 2n ** 64n - 2n });
    expect(device.lostFeatures).toEqual([]);
    expect(device.features).toEqual(expect.arrayContaining(["USER_RECOVERY", "USER_RECOVERY_REISSUE"]));
    expect(await findInfo(device.deviceId)).toMatchObject({ ownerTag: 2n ** 64n - 2n, recoverable: true });
    await device.stop();
  });
});

describe("another life", () => {
  async function startRecoverable(): Promise<{ path: string; server: DeviceServer }> {
    const path = await images.createImage(sizeBytes);
    const server = await DeviceServer.start({
      create: [{ target: { kind: "file", path } }, { recoverable: true, queueCount: 2 }],
    });
    return { path, server };
  }

  /** A writer that goes on for ever, block after block, and reports each pass. */
  function startWriter(device: string, data: string): { child: ChildProcess; passes: () => number } {
    let count = 0;
    const script = 'while dd if="$1" of="$2" bs=64k oflag=direct conv=notrunc status=none; do echo pass; done; exit 1';
    const child = spawn("bash", ["-c", script, "writer", data, device], { stdio: ["ignore", "pipe", "inherit"] });
    child.stdout?.on("data", (chunk: Buffer) => {
      count += chunk.toString().split("pass").length - 1;
    });
    return { child, passes: () => count };
  }

  async function endWriter(child: ChildProcess): Promise<void> {
    expect(child.exitCode).toBeNull();
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  }

  test("a killed server's device waits, and another process takes it over under a running writer", async () => {
    const { path, server } = await startRecoverable();
    const devicePath = `/dev/ublkb${server.deviceId}`;
    const data = await createRandomFile(join(scratch, "data"), sizeBytes);
    const writer = startWriter(devicePath, data);
    await waitFor("the writer writes", () => writer.passes() > 0);

    await server.kill();
    const device = await recoverAndServe(server.deviceId, { kind: "file", path });
    const passes = writer.passes();
    await waitFor("the writer goes on", () => writer.passes() > passes + 1);
    await endWriter(writer.child);

    await compareDevice(data, devicePath);
    expect(device.stats().errors).toBe(0n);
    await device.stop();
    await runCommand("cmp", [data, path]);
  });

  test("a device is taken over again and again", async () => {
    const { path, server: first } = await startRecoverable();
    let server = first;
    for (let round = 0; round < 3; round++) {
      await server.kill();
      server = await DeviceServer.start({ recover: [first.deviceId, { kind: "file", path }, {}] });
      const data = await createRandomFile(join(scratch, "data"), mebibyte);
      await writeToDevice(data, `/dev/ublkb${first.deviceId}`);
    }
    await server.kill();
    const device = await recoverAndServe(first.deviceId, { kind: "file", path });
    expect(device).toMatchObject({ deviceId: first.deviceId, queueCount: 2, sizeBytes: BigInt(sizeBytes) });
    await device.stop();
  });

  test("a released device is recovered in the same process", async () => {
    const path = await images.createImage(sizeBytes);
    const device = await createAndServe({ target: { kind: "file", path } }, { recoverable: true, ownerTag: 5n });
    await device.release();
    await waitForState(device.deviceId, "quiesced");
    const stranger = recoverAndServe(device.deviceId, { kind: "file", path }, { ownerTag: 6n });
    expect((await failure(stranger)).code).toBe("owner_mismatch");
    const again = await recoverAndServe(device.deviceId, { kind: "file", path }, { ownerTag: 5n });
    expect(await findInfo(device.deviceId)).toMatchObject({ state: "live" });
    await again.stop();
  });

  test("a memory device in a file survives its server", async () => {
    const path = await images.createImage(sizeBytes, scratch);
    const target = { kind: "memory", path } as const;
    const server = await DeviceServer.start({ create: [{ target }, { recoverable: true }] });
    const data = await createRandomFile(join(scratch, "data"), mebibyte);
    await writeToDevice(data, `/dev/ublkb${server.deviceId}`);
    await server.kill();
    const device = await recoverAndServe(server.deviceId, target);
    await compareDevice(data, device.path);
    await device.stop();
  });

  test("a killed server's device that is not recoverable is dead, and can be removed", async () => {
    const server = await DeviceServer.start({ create: [{ target: { kind: "null" }, sizeBytes }, {}] });
    await server.kill();
    await waitForState(server.deviceId, "dead");
    expect((await failure(recoverAndServe(server.deviceId, { kind: "null" }))).code).toBe("not_recoverable");
    await removeDevice(server.deviceId);
    expect(await findInfo(server.deviceId)).toBeUndefined();
  });

  test("a device that waits is removed only by force", async () => {
    const { server } = await startRecoverable();
    await server.kill();
    await waitForState(server.deviceId, "quiesced");
    expect((await failure(removeDevice(server.deviceId))).code).toBe("device_busy");
    await removeDevice(server.deviceId, { force: true });
  });

  test("a process that exits takes its devices along, unless they are recoverable", async () => {
    const plain = await DeviceServer.start({ create: [{ target: { kind: "memory" }, sizeBytes }, {}] });
    const { path, server: kept } = await startRecoverable();
    expect(await plain.exit()).toBe(0);
    expect(await findInfo(plain.deviceId)).toBeUndefined();
    expect(await kept.exit()).toBe(0);
    await waitForState(kept.deviceId, "quiesced");
    await (await recoverAndServe(kept.deviceId, { kind: "file", path })).stop();
  });

  test("a device that somebody else removes says so, and is freed", async () => {
    const device: UblkDevice = await createAndServe({ target: { kind: "null" }, sizeBytes });
    const events: DeviceEvent[] = [];
    device.onEvent((event) => events.push(event));
    const script = `require("./native/build/Release/ublk.node").removeDevice(${device.deviceId})`;
    const stranger = runCommand(process.execPath, ["-e", script]);
    await waitFor("the device has ended", () => device.state === "ended");
    expect(events).toEqual([{ kind: "stopped" }]);
    await Promise.all([device.stop(), stranger]);
    expect(await findInfo(device.deviceId)).toBeUndefined();
  });
});
