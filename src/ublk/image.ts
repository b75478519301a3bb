import type { Stats } from "node:fs";
import { readFile, stat, statfs } from "node:fs/promises";
import { findErrno, toErrnoName } from "./errno.js";
import { UblkError } from "./errors.js";
import { type NormalisedOptions, validateSize } from "./options.js";
import { toDeviceNumber } from "./stacking.js";
import { findImagePath } from "./targets/target.js";

const hugetlbfsMagic = 0x958458f6;

/** The size the device will have: the one asked for, or the image's. Throws when the image is missing or too small. */
export async function resolveSize(options: NormalisedOptions, operation: string): Promise<bigint> {
  const { target, logicalBlockSizeBytes } = options;
  if (target.kind === "js") return resolveBackendSize(target.backend.size, options, operation);
  const path = findImagePath(target);
  if (path === undefined) return requireSize(options, operation);
  const image = await statImage(path, operation);
  if (target.kind === "memory") await assertWholePages(options.sizeBytes ?? BigInt(image.size), path, operation);
  const imageBytes = image.isBlockDevice() ? await readDiskSize(image, path, operation) : BigInt(image.size);
  if (options.sizeBytes === undefined) {
    validateSize(imageBytes, logicalBlockSizeBytes, operation, `the size of ${path}`);
    return imageBytes;
  }
  if (imageBytes >= options.sizeBytes) return options.sizeBytes;
  throw new UblkError(
    "image_unusable",
    `${path} has ${imageBytes} bytes, fewer than the sizeBytes of ${options.sizeBytes}`,
    { operation, hint: `grow it with "truncate -s ${options.sizeBytes}", or leave sizeBytes out` },
  );
}

function requireSize({ sizeBytes, target }: NormalisedOptions, operation: string): bigint {
  if (sizeBytes !== undefined) return sizeBytes;
  throw new UblkError("invalid_option", `sizeBytes is missing; a ${target.kind} target has no size of its own`, {
    operation,
    hint: "give the size of the device in bytes",
  });
}

function resolveBackendSize(backendBytes: bigint, options: NormalisedOptions, operation: string): bigint {
  const { sizeBytes = backendBytes, logicalBlockSizeBytes } = options;
  validateSize(sizeBytes, logicalBlockSizeBytes, operation, "the size of the backend");
  if (sizeBytes <= backendBytes) return sizeBytes;
  throw new UblkError(
    "invalid_option",
    `the backend has ${backendBytes} bytes, fewer than the sizeBytes of ${sizeBytes}`,
    {
      operation,
      hint: "leave sizeBytes out, or give the backend a larger size",
    },
  );
}

async function assertWholePages(sizeBytes: bigint, path: string, operation: string): Promise<void> {
  const { type, bsize } = await statfs(path);
  const pageBytes = BigInt(bsize);
  const rest = sizeBytes % pageBytes;
  if (type !== hugetlbfsMagic || rest === 0n) return;
  const wanted = sizeBytes - rest + pageBytes;
  throw new UblkError(
    "size_misaligned",
    `the size of ${sizeBytes} bytes is no multiple of the huge page of ${pageBytes} bytes of ${path}`,
    { operation, hint: `use ${wanted}` },
  );
}

async function readDiskSize(disk: Stats, path: string, operation: string): Promise<bigint> {
  const file = `/sys/dev/block/${toDeviceNumber(disk.rdev)}/size`;
  const sectors = await readFile(file, "utf8").catch((error: unknown) => {
    throw toImageError(path, operation, error);
  });
  return BigInt(sectors.trim()) * 512n;
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
