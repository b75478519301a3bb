import { mkdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { BlockDeviceSpec } from "../../../src/engine/block-devices.js";

/** The spec of a volume over a fresh sparse image in a directory. */
export async function createVolume(directory: string, volumeId: string, sizeBytes: number): Promise<BlockDeviceSpec> {
  await mkdir(directory, { recursive: true });
  const path = join(directory, volumeId);
  await writeFile(path, "");
  await truncate(path, sizeBytes);
  const geometry = { sizeBytes: BigInt(sizeBytes), logicalBlockSizeBytes: 512 };
  return { volumeId, image: { kind: "file", path }, ...geometry, readOnly: false, discard: false };
}
