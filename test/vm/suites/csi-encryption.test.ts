import { readdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { createRandomFile, digest, readBlockAttribute, writeToDevice } from "./support/device-io.js";
import { writeDurably } from "./support/durable-file.js";
import {
  encrypted,
  findKernelName,
  mappingOf,
  passphrase,
  readSizeBytes,
  restage,
} from "./support/encrypted-volume.js";
import { exists } from "./support/exists.js";
import { checkFileSystem } from "./support/file-system.js";
import { readMachineState, waitUntilNothingIsLeft } from "./support/machine-state.js";
import { findMount } from "./support/mounts.js";
import { runCommand, tryCommand } from "./support/run-command.js";
import { TestBed } from "./support/test-bed.js";
import type { TestVolume, VolumeWish } from "./support/test-volume.js";
import { waitFor } from "./support/wait-for.js";

const mebibyte = 1024 ** 2;
const headerBytes = 16 * mebibyte;
const ext4 = { kind: "mount", fsType: "ext4" } as const;

let bed: TestBed;

beforeAll(async () => {
  bed = await TestBed.start("encryption", { logLevel: "trace" });
});
afterAll(async () => await bed.dispose());

function volumeOf(name: string, change: Partial<VolumeWish> = {}): TestVolume {
  const wish = { name, sizeBytes: 32 * mebibyte, access: ext4, parameters: encrypted, secrets: { passphrase } };
  return bed.volume({ ...wish, ...change });
}

const markOf = (volume: TestVolume, name: string) => join(bed.imagePath(volume), "..", name);

describe("an encrypted volume", () => {
  const wishes: Array<Partial<VolumeWish> & { name: string }> = [
    { name: "luks-ext4", parameters: { ...encrypted, encryptionMemory: "64Mi" } },
    {
      name: "luks-xfs-4k",
      sizeBytes: 320 * mebibyte,
      access: { kind: "mount", fsType: "xfs" },
      parameters: { ...encrypted, logicalBlockSize: "4096", pool: "memory" },
    },
    { name: "luks-btrfs", sizeBytes: 128 * mebibyte, access: { kind: "mount", fsType: "btrfs" } },
  ];

  test.each(wishes)("$name: has its exact size, keeps its files over a restage, and goes", async (wish) => {
    const before = await readMachineState();
    const volume = volumeOf(wish.name, wish);
    await volume.start();
    expect(await readSizeBytes(mappingOf(volume))).toBe(volume.wish.sizeBytes);
    expect(findMount(volume.targetPath)?.source).toBe(mappingOf(volume));
    const data = await createRandomFile(join(volume.targetPath, "data"), 4 * mebibyte);
    const written = await digest(data, 4 * mebibyte);
    await volume.stage();
    await volume.publish();
    await restage(volume);
    expect(await digest(data, 4 * mebibyte)).toBe(written);
    expect((await volume.readStats()).usage.length).toBeGreaterThan(0);
    await volume.unpublish();
    if (wish.name !== "luks-btrfs") await checkFileSystem(volume.stagingPath);
    await volume.unstage();
    await volume.delete();
    await waitUntilNothingIsLeft(before);
  });

  test("has nothing in its image that was written, where a plain one has all", async () => {
    const found: Record<string, boolean> = {};
    for (const [name, parameters] of Object.entries({ "clear-text": {}, "cipher-text": encrypted })) {
      const volume = volumeOf(name, { parameters });
      await volume.start();
      await writeDurably(join(volume.targetPath, "pattern"), "plain-text-pattern ".repeat(50_000));
      await volume.unpublish();
      await volume.unstage();
      const outcome = await tryCommand("grep", ["-c", "-a", "plain-text-pattern", bed.imagePath(volume)]);
      found[name] = outcome.exitCode === 0;
      expect((await stat(bed.imagePath(volume))).size).toBe(
        volume.wish.sizeBytes + (name === "cipher-text" ? headerBytes : 0),
      );
      await volume.delete();
    }
    expect(found).toEqual({ "clear-text": true, "cipher-text": false });
  });

  test("is published raw as well, writable and read-only", async () => {
    const volume = volumeOf("luks-raw", { access: { kind: "block" } });
    await volume.start();
    expect(await readSizeBytes(volume.targetPath)).toBe(volume.wish.sizeBytes);
    const data = await createRandomFile(join(bed.directory, "raw-data"), mebibyte);
    await writeToDevice(data, volume.targetPath);
    await restage(volume);
    await runCommand("cmp", ["-n", String(mebibyte), data, volume.targetPath]);
    expect((await tryCommand("cmp", ["-n", "4096", data, bed.imagePath(volume)])).exitCode).toBe(1);
    await volume.unpublish();
    await volume.publish({ readOnly: true });
    await expect(writeToDevice(data, volume.targetPath, { direct: true })).rejects.toThrow(/not permitted|Read-only/);
    await volume.finish();
  });

  test("discards only where it was asked for", async () => {
    const found: Record<string, boolean> = {};
    for (const encryptionDiscard of ["true", "false"]) {
      const parameters = { ...encrypted, provisioning: "thin", encryptionDiscard };
      const volume = volumeOf(`luks-discard-${encryptionDiscard}`, { parameters });
      await volume.start();
      const kernelName = await findKernelName(mappingOf(volume));
      found[encryptionDiscard] = (await readFile(`/sys/block/${kernelName}/queue/discard_max_bytes`, "utf8")) !== "0\n";
      await volume.finish();
    }
    expect(found).toEqual({ true: true, false: false });
  });
});

describe("without the right passphrase", () => {
  const wrong: Array<[string, Record<string, string>, RegExp]> = [
    ["another one", { passphrase: "wrong-horse-battery-staple" }, /does not open/],
    ["none", {}, /has no passphrase/],
    ["too short a one", { passphrase: "short" }, /from 8 to 512 bytes/],
  ];

  test.each(wrong)("%s, a volume is not staged and nothing is left of the attempt", async (name, secrets, reason) => {
    const volume = volumeOf(`refused-${name.replaceAll(" ", "-")}`);
    await volume.create();
    await volume.stage();
    await volume.unstage();
    const before = await readMachineState();
    const right = volume.wish.secrets;
    volume.wish.secrets = secrets;
    await expect(volume.stage()).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: expect.stringMatching(reason),
    });
    await waitUntilNothingIsLeft(before);
    volume.wish.secrets = right ?? {};
    await volume.stage();
    await volume.unstage();
    await volume.delete();
  });
});

describe("an image that is not what it should be is refused and left as it is", () => {
  test("the one of another volume, whatever its passphrase", async () => {
    const [first, second] = [volumeOf("swapped-1"), volumeOf("swapped-2")];
    for (const volume of [first, second]) {
      await volume.create();
      await volume.stage();
      await volume.unstage();
    }
    const swap = async () => {
      await rename(bed.imagePath(first), `${bed.imagePath(first)}.aside`);
      await rename(bed.imagePath(second), bed.imagePath(first));
      await rename(`${bed.imagePath(first)}.aside`, bed.imagePath(second));
    };
    await swap();
    await expect(first.stage()).rejects.toMatchObject({
      code: status.FAILED_PRECONDITION,
      details: expect.stringContaining(`has the header of volume "${second.id}"`),
    });
    await swap();
    await first.stage();
    for (const volume of [first, second]) await volume.finish();
  });

  test("one with other data", async () => {
    const volume = volumeOf("foreign-bytes");
    await volume.create();
    await runCommand("mkswap", ["--quiet", bed.imagePath(volume)]);
    const before = await digest(bed.imagePath(volume), 48 * mebibyte);
    await expect(volume.stage()).rejects.toMatchObject({ details: expect.stringContaining("holds swap") });
    expect(await digest(bed.imagePath(volume), 48 * mebibyte)).toBe(before);
    await volume.unstage();
    await volume.delete();
  });

  test("one whose header names another cipher, though the passphrase opens it", async () => {
    const volume = volumeOf("weakened");
    await volume.create();
    await volume.stage();
    await volume.unstage();
    const path = bed.imagePath(volume);
    await runCommand("cp", ["--sparse=always", path, `${path}.aside`]);
    const { passphrase = "" } = volume.wish.secrets ?? {};
    await writeFile("/run/passphrase", passphrase);
    const cheap = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    const identity = ["--label", volume.id, "--subsystem", "ublk-csi", "--offset", "32768"];
    const weaker = ["--cipher", "aes-xts-plain64", "--key-size", "256"];
    const args = ["--type", "luks2", "--batch-mode", ...cheap, ...identity, ...weaker, path, "/run/passphrase"];
    await runCommand("cryptsetup", ["luksFormat", ...args]);
    await expect(volume.stage()).rejects.toMatchObject({
      code: status.FAILED_PRECONDITION,
      details: expect.stringContaining("is not as this driver makes it"),
    });
    await rename(`${path}.aside`, path);
    await volume.finish();
  });

  test("one that has lost its header", async () => {
    const volume = volumeOf("beheaded");
    await volume.create();
    await volume.stage();
    await volume.unstage();
    const args = ["if=/dev/zero", `of=${bed.imagePath(volume)}`, "bs=1M", "count=16", "conv=notrunc", "status=none"];
    await runCommand("dd", args);
    await expect(volume.stage()).rejects.toMatchObject({ details: expect.stringContaining("lost its LUKS header") });
    await volume.unstage();
    await volume.delete();
  });
});

describe("a driver that is killed", () => {
  test("leaves a mapping that the next one verifies, uses and closes", async () => {
    const before = await readMachineState();
    const volume = volumeOf("restarted");
    await volume.start();
    const data = await createRandomFile(join(volume.targetPath, "data"), 4 * mebibyte);
    const written = await digest(data, 4 * mebibyte);
    await bed.driver.kill();
    await bed.restart();
    await volume.stage();
    await volume.publish();
    await writeDurably(join(volume.targetPath, "note"), "after");
    expect(await digest(data, 4 * mebibyte)).toBe(written);
    await volume.finish();
    await bed.driver.terminate();
    await waitUntilNothingIsLeft(before);
    await bed.restart();
  });

  test("while it encrypts leaves a volume that the next one encrypts anew", async () => {
    const volume = volumeOf("cut-short");
    await volume.create();
    const mark = markOf(volume, "encrypting");
    await Promise.all([
      expect(volume.stage()).rejects.toThrow(),
      waitFor("encrypting has begun", () => exists(mark), { intervalMs: 1 }).then(() => bed.driver.kill()),
    ]);
    await bed.restart();
    expect(await exists(mark)).toBe(true);
    await volume.stage();
    expect(await exists(mark)).toBe(false);
    expect(findMount(volume.stagingPath)?.fsType).toBe("ext4");
    await volume.finish();
  });
});

test("the passphrase is in no log, record, journal, argument or environment", async () => {
  const volume = volumeOf("silent", { secrets: { passphrase: "silent-as-the-grave-0815" } });
  await volume.create();
  const seen: string[] = [];
  const staging = volume.stage();
  let isDone = false;
  void staging.finally(() => (isDone = true)).catch(() => undefined);
  let sawCryptsetup = false;
  while (!isDone) {
    for (const { name, text } of await readProcesses()) {
      sawCryptsetup ||= text.includes("luksFormat");
      if (text.includes("silent-as-the-grave")) seen.push(name);
    }
  }
  await staging;
  expect(sawCryptsetup).toBe(true);
  volume.wish.secrets = { passphrase: "silent-as-the-grave-4711" };
  await volume.unstage();
  const failure = await volume.stage().catch((error: Error) => error);
  expect(String(failure)).toMatch(/does not open/);
  expect(String(failure)).not.toContain("silent");
  expect(seen).toEqual([]);
  const files = [bed.driver.logPath, ...(await listFiles(bed.stateDir)), ...(await listFiles(bed.poolPath))];
  const outcome = await tryCommand("grep", ["-l", "-a", "silent-as-the-grave", ...files]);
  expect(outcome.stdout).toBe("");
  expect(await readFile(bed.driver.logPath, "utf8")).toContain('"passphrase":"[secret]"');
  await volume.unstage();
  await volume.delete();
});

test("the sectors of the mapping are those of the volume's blocks", async () => {
  const volume = volumeOf("sectors", { parameters: { ...encrypted, logicalBlockSize: "4096" } });
  await volume.start();
  const kernelName = await findKernelName(mappingOf(volume));
  expect(await readBlockAttribute(`/dev/${kernelName}`, "queue/logical_block_size")).toBe("4096");
  await volume.finish();
});

/** What every process shows of itself to others. */
async function readProcesses(): Promise<Array<{ name: string; text: string }>> {
  const ids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name) && name !== String(process.pid));
  const files = ids.flatMap((id) => [`/proc/${id}/cmdline`, `/proc/${id}/environ`]);
  return await Promise.all(files.map(async (name) => ({ name, text: await readFile(name, "utf8").catch(() => "") })));
}

async function listFiles(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
}
