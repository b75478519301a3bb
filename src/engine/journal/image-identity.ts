import { stat } from "node:fs/promises";
import { BlockDeviceError, type BlockDeviceImage } from "../block-devices.js";
import type { ImageIdentity, JournalEntry } from "./journal-entry.js";

interface ImageFacts {
  identity: ImageIdentity;
  sizeBytes: bigint;
}

/** Looks at the image a device is wanted for. Throws `image_missing` unless it is a file of at least that size. */
export async function identifyImage(image: BlockDeviceImage, sizeBytes: bigint): Promise<ImageIdentity> {
  const facts = await readFacts(image);
  if (facts.sizeBytes >= sizeBytes) return facts.identity;
  throw new BlockDeviceError(
    "image_missing",
    `image ${image.path} has ${facts.sizeBytes} bytes, fewer than the device's ${sizeBytes}: it was cut or never grown`,
  );
}

/** Says how the image differs from the one that the device was made over, or undefined when it is the same. */
export async function findImageChange(entry: JournalEntry): Promise<string | undefined> {
  const { image, sizeBytes } = entry;
  try {
    const { inode, device } = await identifyImage(image, sizeBytes);
    if (inode === image.inode && device === image.device) return undefined;
    return `image ${image.path} is another file than the device was made over (inode ${inode}, was ${image.inode})`;
  } catch (error) {
    if (error instanceof BlockDeviceError) return error.message;
    throw error;
  }
}

async function readFacts(image: BlockDeviceImage): Promise<ImageFacts> {
  const found = await stat(image.path, { bigint: true }).catch((cause: unknown) => {
    const code = (cause as NodeJS.ErrnoException).code;
    const reason = code === "ENOENT" || code === "ENOTDIR" ? "does not exist" : `cannot be read (${code})`;
    throw new BlockDeviceError("image_missing", `image ${image.path} ${reason}: is its pool mounted?`, { cause });
  });
  if (!found.isFile()) throw new BlockDeviceError("image_missing", `image ${image.path} is not a regular file`);
  const { kind, path } = image;
  return { identity: { kind, path, inode: found.ino, device: found.dev }, sizeBytes: found.size };
}
