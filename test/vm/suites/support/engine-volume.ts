import type { BlockDeviceSpec } from "../../../../src/engine/block-devices.js";
import type { ImageDirectory } from "./image-directory.js";
import { runCommand } from "./run-command.js";

const sizeBytes = 32 * 1024 ** 2;

/** An image, and the spec of a volume over it. */
export async function createEngineVolume(images: ImageDirectory, volumeId: string): Promise<BlockDeviceSpec> {
  const image = { kind: "file", path: await images.createImage(sizeBytes) } as const;
  const geometry = { sizeBytes: BigInt(sizeBytes), logicalBlockSizeBytes: 512 };
  return { volumeId, image, ...geometry, readOnly: false, discard: false };
}

/** Random writes, each read back and compared. Rejects at the first error that a user of the device sees. */
export async function startVerifiedLoad(path: string): Promise<void> {
  const job = ["--name=load", `--filename=${path}`, "--rw=randwrite", "--bs=4k", "--iodepth=8", "--ioengine=libaio"];
  const check = ["--direct=1", "--verify=crc32c", "--verify_fatal=1", "--verify_backlog=256", "--size=16m"];
  await runCommand("fio", [...job, ...check, "--loops=1"]);
}
