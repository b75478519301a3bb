import { readdir, readFile, truncate } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "@jest/globals";
import { type DataMode, dataModeNames, dataModes } from "../../../src/ublk/features/data-modes.js";
import {
  createAndServe,
  type DeviceOptions,
  getFeatures,
  recoverAndServe,
  type Target,
  type UblkDevice,
} from "../../../src/ublk/index.js";
import { waitForIo } from "./support/completed-io.js";
import { compareDevice, createRandomFile, writeToDevice } from "./support/device-io.js";
import { DeviceServer } from "./support/device-server.js";
import { exercised } from "./support/exercised.js";
import { runFio, verifyOptions } from "./support/fio.js";
import { failure, mebibyte, sizeBytes, useLibraryRig } from "./support/library-rig.js";
import { runCommand, tryCommand } from "./support/run-command.js";
import { byScale } from "./support/scale.js";

const rig = useLibraryRig();

type Place = "direct file" | "buffered file" | "memory file";

const shapes = byScale<{ place: Place; block: 512 | 4096 }[]>({
  full: [
    { place: "direct file", block: 512 },
    { place: "buffered file", block: 4096 },
    { place: "memory file", block: 512 },
  ],
  smoke: [{ place: "direct file", block: 4096 }],
});
const cases = dataModeNames.flatMap((dataMode) => shapes.map((shape) => ({ dataMode, ...shape })));
/** The kernel has no batches of requests whose payload it is asked for later. */
const batchModes = dataModeNames.filter((dataMode) => dataMode !== "get-data");

async function makeTarget(place: Place): Promise<{ target: Target & { path: string }; direct: boolean }> {
  if (place === "memory file") {
    const path = await rig.images.createImage(sizeBytes, rig.scratch);
    return { target: { kind: "memory", path }, direct: true };
  }
  return { target: { kind: "file", path: await rig.images.createImage(sizeBytes) }, direct: place === "direct file" };
}

/** The features of the mode that this kernel lacks. Each kernel proves the modes it has, and the refusal of the others. */
async function findMissing(dataMode: DataMode): Promise<string[]> {
  return await findMissingOf(dataModes[dataMode].features);
}

async function findMissingOf(features: readonly string[]): Promise<string[]> {
  const offered = (await getFeatures()).map(({ name }) => name);
  return features.filter((name) => !offered.includes(name));
}

async function expectRefusal(options: DeviceOptions, missing: string[], target: Target): Promise<void> {
  const error = await failure(createAndServe({ target }, options));
  expect(error.code).toBe("feature_missing");
  for (const name of missing) expect(error.message).toMatch(new RegExp(`${name} \\(first in kernel \\d+\\.\\d+\\)`));
}

/** Kills the server in the middle of its work, and serves its device in this process. */
async function recoverAfterKill(server: DeviceServer, target: Target): Promise<UblkDevice> {
  await waitForIo(server.deviceId, 200);
  await server.kill();
  return await recoverAndServe(server.deviceId, target);
}

const loops = byScale({ full: 12, smoke: 4 });

function common(device: string) {
  return { filename: device, direct: 1, ioengine: "io_uring", size: sizeBytes, ...verifyOptions };
}

/** Writes of many sizes at once, each read back and checked, with flushes and FUA in between. */
async function verify(device: string, block: number): Promise<void> {
  const sizes = { bsrange: `${block}-256k`, blockalign: block, bs_unaligned: 0 };
  await runFio({
    deep: { ...common(device), rw: "randwrite", ...sizes, iodepth: 32, fsync: 16 },
    durable: { ...common(device), rw: "randwrite", bs: "16k", sync: 1, number_ios: 32, iodepth: 4, verify_backlog: 8 },
  });
}

describe("payload", () => {
  test.each(cases)("$dataMode, $place, blocks of $block: every byte arrives", async ({ dataMode, place, block }) => {
    const { target, direct } = await makeTarget(place);
    const missing = await findMissing(dataMode);
    if (missing.length > 0) return await expectRefusal({ dataMode }, missing, target);

    const options: DeviceOptions = { dataMode, direct, logicalBlockSizeBytes: block, queueDepth: 16 };
    const device = await createAndServe({ target }, { ...options, queueCount: 2 });
    expect(device).toMatchObject({ dataMode, direct: place === "direct file" });
    await verify(device.path, block);

    const data = await createRandomFile(join(rig.scratch, "data"), sizeBytes);
    await writeToDevice(data, device.path);
    await runCommand("blkdiscard", ["--offset", "1048576", "--length", "65536", device.path]);
    await runCommand("blkdiscard", ["--zeroout", "--offset", "1114112", "--length", "65536", device.path]);
    await runCommand("dd", ["if=/dev/zero", `of=${data}`, "bs=65536", "seek=16", "count=2", "conv=notrunc"]);
    await compareDevice(data, device.path);
    expect(device.stats().errors).toBe(0n);
    await device.stop();
    await runCommand("cmp", [data, target.path]);
    exercised(...dataModes[dataMode].features);
  });
});

describe("batches", () => {
  test.each(batchModes)("%s: requests that come and go by the batch keep every byte", async (dataMode) => {
    const { target } = await makeTarget("direct file");
    const missing = [...(await findMissing(dataMode)), ...(await findMissingOf(["BATCH_IO"]))];
    if (missing.length > 0)
      return await expectRefusal({ dataMode, batch: "on", allowBrokenKernel: true }, missing, target);

    // Neither killed nor released under load: docs/data-modes.md says why batches have to be asked for twice.
    const options: DeviceOptions = { dataMode, batch: "on", allowBrokenKernel: true, queueCount: 2, queueDepth: 16 };
    const device = await createAndServe({ target }, options);
    expect(device).toMatchObject({ dataMode, batch: true });
    await verify(device.path, 512);
    const data = await createRandomFile(join(rig.scratch, "data"), sizeBytes);
    await writeToDevice(data, device.path);
    await compareDevice(data, device.path);
    expect(device.stats().errors).toBe(0n);
    await device.stop();
    await runCommand("cmp", [data, target.path]);
  });

  test("a kernel that has them is still not trusted with them unless one insists", async () => {
    const { target } = await makeTarget("direct file");
    const error = await failure(createAndServe({ target }, { batch: "on" }));
    expect(error).toMatchObject({ code: "feature_missing" });
    expect(error.message).toContain("BATCH_IO (first in kernel 7.0)");
  });
});

describe("failures", () => {
  test.each(dataModeNames)(
    "%s: an image that was cut short is an error to its reader, never other bytes",
    async (dataMode) => {
      const { target } = await makeTarget("direct file");
      const missing = await findMissing(dataMode);
      if (missing.length > 0) return await expectRefusal({ dataMode }, missing, target);

      const device = await createAndServe({ target }, { dataMode });
      const data = await createRandomFile(join(rig.scratch, "data"), sizeBytes);
      await writeToDevice(data, device.path);
      await truncate(target.path, mebibyte);
      await runCommand("blockdev", ["--flushbufs", device.path]);
      const beyond = await tryCommand("dd", [
        `if=${device.path}`,
        "of=/dev/null",
        "bs=64k",
        "skip=32",
        "count=1",
        "iflag=direct",
      ]);
      expect(beyond.exitCode).not.toBe(0);
      // A request across the new end comes back short from the file, and must not be short or whole to its reader.
      const across = await tryCommand("dd", [
        `if=${device.path}`,
        "of=/dev/null",
        "bs=64k",
        "skip=1015808",
        "iflag=direct,skip_bytes",
        "count=1",
      ]);
      expect(across.exitCode).not.toBe(0);
      await runCommand("cmp", ["-n", String(mebibyte / 2), device.path, data]);
      expect(device.stats().errors).toBeGreaterThanOrEqual(2n);
      await device.stop();
    },
  );

  test("a null target is not served in a mode that would show what the kernel's pages held before", async () => {
    const error = await failure(createAndServe({ target: { kind: "null" }, sizeBytes }, { dataMode: "zero-copy" }));
    expect(error).toMatchObject({ code: "feature_missing" });
  });
});

describe("choice", () => {
  test("auto takes the best that the kernel offers, and says what it was", async () => {
    const zeroCopy = (await findMissing("auto-zero-copy")).length === 0;
    const wanted: [Target, DataMode][] = [
      [{ kind: "null" }, "copy"],
      [{ kind: "memory" }, "user-copy"],
      [{ kind: "file", path: await rig.images.createImage(sizeBytes) }, zeroCopy ? "auto-zero-copy" : "copy"],
    ];
    for (const [target, dataMode] of wanted) {
      const device = await createAndServe({ target, sizeBytes });
      expect(device.dataMode).toBe(dataMode);
      await device.stop();
    }
  });

  test("the threads of a device stay on the CPUs that were asked for", async () => {
    const { device } = await rig.serveFile({ cpus: [0] });
    expect(await readAllowedCpus(`ublk${device.deviceId}-q0`)).toBe("0");
    await device.stop();
    const error = await failure(rig.serveFile({ cpus: [8191] }));
    expect(error.message).toContain("START_QUEUE");
  });
});

/** Where the thread of this name in this process may run, as /proc lists it. */
async function readAllowedCpus(name: string): Promise<string | undefined> {
  for (const id of await readdir("/proc/self/task")) {
    const status = await readFile(`/proc/self/task/${id}/status`, "utf8");
    if (status.startsWith(`Name:\t${name}\n`)) return /^Cpus_allowed_list:\s*(.*)$/m.exec(status)?.[1];
  }
  return undefined;
}

describe("another life", () => {
  test.each(dataModeNames)("%s: a killed server's device goes on in its mode, with nothing lost", async (dataMode) => {
    const { target } = await makeTarget("direct file");
    const missing = await findMissing(dataMode);
    if (missing.length > 0) return await expectRefusal({ dataMode }, missing, target);

    const server = await DeviceServer.start({ create: [{ target }, { dataMode, recoverable: true, queueCount: 2 }] });
    const path = `/dev/ublkb${server.deviceId}`;
    const load = runFio({ job: { ...common(path), rw: "randwrite", bsrange: "4k-128k", iodepth: 32, loops } });
    let device = await recoverAfterKill(server, target);
    expect(device.dataMode).toBe(dataMode);
    await load;
    expect(device.stats().errors).toBe(0n);
    await device.release();
    device = await recoverAndServe(device.deviceId, target);
    const data = await createRandomFile(join(rig.scratch, "data"), sizeBytes);
    await writeToDevice(data, path);
    await compareDevice(data, path);
    await device.stop();
    exercised("USER_RECOVERY", "USER_RECOVERY_REISSUE", ...dataModes[dataMode].features);
  });
});
