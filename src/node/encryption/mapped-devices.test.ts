import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { SysfsMappedDevices } from "./mapped-devices.js";

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "ublk-csi-sysfs-"));
});
afterEach(() => rm(directory, { recursive: true }));

async function add(kernelName: string, name: string): Promise<void> {
  const path = join(directory, kernelName);
  await mkdir(join(path, "dm"), { recursive: true });
  await mkdir(join(path, "slaves", "ublkb3"), { recursive: true });
  const attributes = { dev: "253:7", size: "4096", "dm/name": name, "dm/uuid": "CRYPT-LUKS2-1-x" };
  for (const [attribute, text] of Object.entries(attributes)) await writeFile(join(path, attribute), `${text}\n`);
}

test("a mapping is found by its name, with what it lies on", async () => {
  await add("dm-6", "other");
  await add("dm-7", "ublk-csi-1");
  await mkdir(join(directory, "sda"));
  await mkdir(join(directory, "dm-8")); // about to go: it has no attributes any more
  const devices = new SysfsMappedDevices(directory);
  expect(await devices.find("ublk-csi-1")).toEqual({
    name: "ublk-csi-1",
    path: "/dev/dm-7",
    number: "253:7",
    sizeBytes: 2n * 1024n ** 2n,
    uuid: "CRYPT-LUKS2-1-x",
    below: ["ublkb3"],
  });
  expect(await devices.find("ublk-csi-2")).toBeUndefined();
});
