import type { Stats } from "node:fs";
import { stat } from "node:fs/promises";
import { findErrno, toErrnoName } from "./errno.js";
import { UblkError } from "./errors.js";
import { type NormalisedOptions, validateSize } from "./options.js";

/** The size the device will have: the one asked for, or the image's. Throws when the image is missing or too small. */
export async function resolveSize(options: NormalisedOptions, operation: string): Promise<bigint> {
  const { target, logicalBlockSizeBytes } = options;
  if (target.kind === "null" || target.path === undefined) return requireSize(options, operation);
  const image = await statImage(target.path, operation);
  if (image.isBlockDevice()) return requireSize(options, operation);
  const imageBytes = BigInt(image.size);
  if (options.sizeBytes === undefined) {
    validateSize(imageBytes, logicalBlockSizeBytes, operation, `the size of ${target.path}`);
    return imageBytes;
  }
  if (imageBytes >= options.sizeBytes) return options.sizeBytes;
  throw new UblkError(
    "image_unusable",
    `${target.path} has ${imageBytes} bytes, fewer than the sizeBytes of ${options.sizeBytes}`,
    { operation, hint: `grow it with "truncate -s ${options.sizeBytes}", or leave sizeBytes out` },
  );
}

function requireSize({ sizeBytes, target }: NormalisedOptions, operation: string): bigint {
  if (sizeBytes !== undefined) return sizeBytes;
  const path = target.kind === "null" ? "" : ` ${target.path}`;
  throw new UblkError("invalid_option", `sizeBytes is missing; the size of the block device${path} is not looked up`, {
    operation,
    hint: 'give it, for example from "blockdev --getsize64"',
  });
}

async function statImage(path: string, operation: string): Promise<Stats> {
  const image = await stat(path).catch((error: unknown) => {
    throw toImageError(path, operation, error);
  });
  if (image.isFile() || image.isBlockDevice()) return image;
  throw new UblkError("image_unusable", `${path} is no regular file and no block device`, {
    operation,
    hint: "give the path of the image itself",
  });
}

function toImageError(path: string, operation: string, cause: unknown): UblkError {
  const errno = findErrno(cause) ?? 0;
  const details = { operation, step: "OPEN_TARGET", errno, errnoName: toErrnoName(errno), cause };
  if (details.errnoName === "ENOENT" || details.errnoName === "ENOTDIR") {
    const hint = "create the image with its full size first";
    return new UblkError("image_missing", `${path} does not exist`, { ...details, hint });
  }
  const hint = "it must be a regular file or a block device which this process may reach";
  return new UblkError("image_unusable", `${path} cannot be used (${details.errnoName})`, { ...details, hint });
}
