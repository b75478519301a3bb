import { readFileSync } from "node:fs";
import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { status as Code } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { VolumeCapability_AccessMode_Mode as AccessMode } from "../../../src/gen/csi/csi.js";
import { compareDevice, createRandomFile, writeToDevice } from "./support/device-io.js";
import { loseDevices } from "./support/lose-devices.js";
import { runCommand } from "./support/run-command.js";
import { TestBed } from "./support/test-bed.js";
import type { TestVolume, VolumeWish } from "./support/test-volume.js";

const mebibyte = 1024 ** 2;

let bed: TestBed;
let data: string;

beforeAll(async () => {
  bed = await TestBed.start("left-nodes");
  data = await createRandomFile(join(bed.directory, "data"), mebibyte);
});
afterAll(() => bed.dispose());

function createVolume(name: string, accessMode = AccessMode.SINGLE_NODE_WRITER): TestVolume {
  const access: VolumeWish["access"] = { kind: "block" };
  return bed.volume({ name, sizeBytes: 16 * mebibyte, access, accessMode });
}

/** The number that a node stands for. */
async function readNumber(path: string): Promise<string> {
  return (await runCommand("stat", ["-L", "--format=%Hr:%Lr", path])).trim();
}

/** What of devtmpfs is bound to a path. */
function readRoot(path: string): string | undefined {
  const lines = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  return lines.map((line) => line.split(" ")).findLast((fields) => fields[4] === path)?.[3];
}

async function listUblkNodes(): Promise<string[]> {
  return (await readdir("/dev")).filter((name) => /^ublk[bc]\d/.test(name)).sort();
}

/** What the driver has logged of the device of a volume. */
function readDeviceEvents({ id }: TestVolume): string[] {
  const lines = readFileSync(bed.driver.logPath, "utf8")
    .split("\n")
    .filter((line) => line.includes(id));
  return lines.flatMap((line) => /device (?:attached|detached)/.exec(line) ?? []);
}

/** A raw volume with data, whose pod keeps the node of a device that is gone. */
async function startLeft(name: string, accessMode?: AccessMode): Promise<{ volume: TestVolume; number: string }> {
  const volume = createVolume(name, accessMode);
  await volume.start();
  await writeToDevice(data, volume.targetPath);
  const number = await readNumber(volume.targetPath);
  await (await loseDevices(bed, await volume.findDeviceId())).isRemoved;
  expect(readRoot(volume.targetPath)).toMatch(/^\/ublkb\d+\/\/deleted$/);
  return { volume, number };
}

const refusal = (message: string) => ({ code: Code.FAILED_PRECONDITION, details: expect.stringContaining(message) });

describe("a pod that keeps the node of a device that is gone", () => {
  test("has the volume by it when the next device gets the number: as the only one, and the volume stays staged", async () => {
    const { volume, number } = await startLeft("left-alone", AccessMode.SINGLE_NODE_SINGLE_WRITER);
    await volume.stage();
    expect(await readNumber("/dev/ublkb0")).toBe(number);
    await compareDevice(data, volume.targetPath);
    const second = join(bed.directory, "kubelet", "pods", "second", "device");
    await expect(volume.publish({ targetPath: second })).rejects.toMatchObject(
      refusal(`is published at ${volume.targetPath}`),
    );
    await expect(volume.unstage()).rejects.toMatchObject(refusal(`still published at ${volume.targetPath}`));
    await compareDevice(data, volume.targetPath);
    await volume.publish();
    expect(readRoot(volume.targetPath)).toBe("/ublkb0");
    await compareDevice(data, volume.targetPath);
    await volume.finish();
  });

  test("keeps the volume from pods with other access", async () => {
    const { volume } = await startLeft("left-writable");
    await volume.stage();
    const targetPath = join(bed.directory, "kubelet", "pods", "reader", "device");
    await expect(volume.publish({ targetPath, readOnly: true })).rejects.toMatchObject(
      refusal(`published writable at ${volume.targetPath}`),
    );
    await volume.finish();
  });

  test("never gets another volume: that has no device until the pod is stopped", async () => {
    const { volume, number } = await startLeft("left-of-one");
    const other = createVolume("other");
    await other.create();
    const message = `${volume.targetPath} of a pod has the node of a device that is gone, and its number ${number}`;
    await expect(other.stage()).rejects.toMatchObject(refusal(message));
    expect(await listUblkNodes()).toEqual([]);
    expect(readDeviceEvents(other)).toEqual([]);
    await volume.unpublish();
    await other.stage();
    expect(await readNumber("/dev/ublkb0")).toBe(number);
    await other.finish();
    await volume.finish();
  });

  test("never gets another volume whose device turns out to have the number: that is taken back", async () => {
    const lower = createVolume("lower");
    const volume = createVolume("left-of-two");
    for (const each of [lower, volume]) await each.start();
    const number = await readNumber(volume.targetPath);
    const [lowerId, deviceId] = [await lower.findDeviceId(), await volume.findDeviceId()];
    // Keeps the lower number from being free, though no device has it: nobody can tell then which one comes next.
    const held = await open(`/dev/ublkb${lowerId}`, "r");
    await lower.unpublish();
    const { isRemoved } = await loseDevices(bed, deviceId, lowerId);
    const other = createVolume("taken-back");
    await other.create();
    await expect(other.stage()).rejects.toMatchObject(refusal(`its number ${number} would lead to volume ${other.id}`));
    expect(readDeviceEvents(other)).toEqual(["device attached", "device detached"]);
    await held.close();
    await isRemoved;
    expect(await listUblkNodes()).toEqual([]);
    await volume.unpublish();
    await other.stage();
    for (const each of [other, lower, volume]) await each.finish();
  });
});
