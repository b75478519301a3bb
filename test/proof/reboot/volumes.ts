import { open, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { writeDurably } from "../../vm/suites/support/durable-file.js";
import { encrypted, passphrase } from "../../vm/suites/support/encrypted-volume.js";
import type { TestVolume, VolumeWish } from "../../vm/suites/support/test-volume.js";

const mebibyte = 1024 ** 2;
const blockBytes = 4096;
const ext4 = { kind: "mount", fsType: "ext4" } as const;

/** The volumes of pods that are there when the power fails, one of each kind. */
export const wishes: readonly VolumeWish[] = [
  { name: "plain", sizeBytes: 64 * mebibyte, access: ext4 },
  {
    name: "thin",
    sizeBytes: 320 * mebibyte,
    access: { kind: "mount", fsType: "xfs" },
    parameters: { provisioning: "thin" },
  },
  { name: "shared", sizeBytes: 128 * mebibyte, access: { kind: "mount", fsType: "btrfs" } },
  { name: "raw", sizeBytes: 16 * mebibyte, access: { kind: "block" } },
  {
    name: "encrypted",
    sizeBytes: 32 * mebibyte,
    access: ext4,
    parameters: encrypted,
    secrets: { passphrase },
  },
];

export const inMemory: VolumeWish = {
  name: "in-memory",
  sizeBytes: 32 * mebibyte,
  access: ext4,
  parameters: { pool: "memory" },
};

/** Grown while no pod has it: its file system follows when it is staged, which is after the power failed. */
export const growing: VolumeWish = { name: "growing", sizeBytes: 64 * mebibyte, access: ext4 };
export const grownBytes = 128 * mebibyte;

/** Writes what must be there ever after, and then something that nobody has flushed when the power fails. */
export async function writeNote({ wish, targetPath }: TestVolume, note: string): Promise<void> {
  if (wish.access.kind === "block") return await writeBlock(targetPath, note);
  await writeDurably(join(targetPath, "note"), note);
  await writeFile(join(targetPath, "unflushed"), Buffer.alloc(4 * mebibyte, note));
}

export async function readNote({ wish, targetPath }: TestVolume): Promise<string> {
  if (wish.access.kind === "mount") return await readFile(join(targetPath, "note"), "utf8");
  const file = await open(targetPath, "r");
  const { buffer } = await file.read(Buffer.alloc(blockBytes), 0, blockBytes, mebibyte);
  await file.close();
  return buffer.toString("utf8", 0, buffer.indexOf(0));
}

async function writeBlock(path: string, note: string): Promise<void> {
  const block = Buffer.alloc(blockBytes);
  block.write(note);
  const file = await open(path, "r+");
  await file.write(block, 0, blockBytes, mebibyte);
  await file.sync();
  await file.close();
}
