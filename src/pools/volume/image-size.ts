import { maxBytes } from "./bytes.js";
import type { Volume, VolumeParameters } from "./volume.js";

/** What cryptsetup puts before the data of an encrypted volume. */
const encryptionHeaderBytes = 16n * 1024n ** 2n;

/** Bytes of an image that are not the volume's: an encrypted volume has its exact size behind the header. */
export function headerSizeBytesOf({ encryption }: Pick<VolumeParameters, "encryption">): bigint {
  return encryption === undefined ? 0n : encryptionHeaderBytes;
}

/** The size of the image that holds a volume, and of the ublk device that serves it. */
export function imageSizeBytesOf({ sizeBytes, parameters }: Pick<Volume, "sizeBytes" | "parameters">): bigint {
  return sizeBytes + headerSizeBytesOf(parameters);
}

/** The size of the volume that an image of this size can hold. */
export function volumeSizeBytesOf(imageSizeBytes: bigint, parameters: Pick<VolumeParameters, "encryption">): bigint {
  return maxBytes(imageSizeBytes - headerSizeBytesOf(parameters), 0n);
}
