import { stat, writeFile } from "node:fs/promises";
import { describe, expect, test } from "@jest/globals";
import {
  checkKernel,
  createAndServe,
  type FeatureName,
  recoverAndServe,
  reportFeatures,
  type Target,
} from "../../../src/ublk/index.js";
import { DeviceServer } from "./support/device-server.js";
import { exercised } from "./support/exercised.js";
import { failure, findInfo, mebibyte, sizeBytes, useLibraryRig, waitForState } from "./support/library-rig.js";
import { createPartitionTable } from "./support/partition-table.js";
import { tryCommand } from "./support/run-command.js";
import { waitFor } from "./support/wait-for.js";

const rig = useLibraryRig();
const nullDevice = { target: { kind: "null" } as Target, sizeBytes };

async function kernelHas(name: FeatureName): Promise<boolean> {
  return (await checkKernel()).features.some((feature) => feature.name === name);
}

describe("the kernel", () => {
  test("is above the floor, and not one of those that break", async () => {
    const { features, findings } = await checkKernel();
    expect(features.map(({ name }) => name)).toEqual(expect.arrayContaining(["USER_COPY", "ZONED"]));
    expect(findings.filter(({ severity }) => severity === "refuse")).toEqual([]);
  });
});

describe("the report", () => {
  test("foresees what the driver grants, feature by feature", async () => {
    const options = { recoverable: true, queueDepth: 8 };
    const path = await rig.images.createImage(sizeBytes);
    const params = { target: { kind: "file", path } as const };
    const expected = await reportFeatures(params, options);
    const device = await createAndServe(params, options);
    const granted = (reports: typeof expected) => reports.filter((report) => report.granted).map(({ name }) => name);
    expect(granted([...device.featureReport])).toEqual(granted(expected));
    expect(granted([...device.featureReport])).toEqual(device.features);
    await device.stop();
    exercised("CMD_IOCTL_ENCODE", "URING_CMD_COMP_IN_TASK");
  });

  test("names the first kernel of what is required and missing, and the reason for what is refused", async () => {
    const features = { require: ["USER_RECOVERY_FAIL_IO", "INTEGRITY"] } as const;
    const error = await failure(createAndServe(nullDevice, { features }));
    expect(error.code).toBe("feature_missing");
    expect(error.message).toContain("USER_RECOVERY_FAIL_IO (first in kernel 6.13)");
    expect(error.message).toContain("INTEGRITY (first in kernel 7.0)");
  });

  test("what is avoided is not there", async () => {
    const device = await createAndServe(nullDevice, { features: { avoid: ["UPDATE_SIZE"] } });
    expect(device.features).not.toContain("UPDATE_SIZE");
    await device.stop();
  });
});

test("with USER_RECOVERY_FAIL_IO a device without server fails I/O at once, and is taken back", async () => {
  const target = { kind: "file", path: await rig.images.createImage(sizeBytes) } as const;
  const features = { require: ["USER_RECOVERY", "USER_RECOVERY_FAIL_IO"] } as const;
  if (!(await kernelHas("USER_RECOVERY_FAIL_IO"))) {
    const error = await failure(createAndServe({ target }, { features }));
    expect(error.message).toContain("USER_RECOVERY_FAIL_IO (first in kernel 6.13)");
    return;
  }
  const server = await DeviceServer.start({ create: [{ target }, { features }] });
  await server.kill();
  await waitForState(server.deviceId, "fail-io");
  const read = [`if=/dev/ublkb${server.deviceId}`, "of=/dev/null", "bs=4096", "count=1", "iflag=direct"];
  expect((await tryCommand("dd", read, { timeoutMs: 20_000 })).exitCode).not.toBe(0);
  const device = await recoverAndServe(server.deviceId, target);
  expect(await findInfo(device.deviceId)).toMatchObject({ state: "live" });
  expect((await tryCommand("dd", read)).exitCode).toBe(0);
  await device.stop();
  exercised("USER_RECOVERY", "USER_RECOVERY_FAIL_IO");
});

test("partitions are looked for only where NO_AUTO_PART_SCAN is not granted", async () => {
  const path = await rig.images.createImage(8 * mebibyte);
  await writeFile(path, createPartitionTable(), { flag: "r+" });
  const find = async (deviceId: number) =>
    await stat(`/sys/block/ublkb${deviceId}/ublkb${deviceId}p1`).then(
      () => true,
      () => false,
    );
  const params = { target: { kind: "file", path } as const };
  const scanned = await createAndServe(params, { features: { avoid: ["NO_AUTO_PART_SCAN"] } });
  await waitFor("the partition appears", () => find(scanned.deviceId));
  await scanned.stop();
  if (!(await kernelHas("NO_AUTO_PART_SCAN"))) return;
  const unscanned = await createAndServe(params);
  expect(await find(unscanned.deviceId)).toBe(false);
  await unscanned.stop();
  exercised("NO_AUTO_PART_SCAN");
});
