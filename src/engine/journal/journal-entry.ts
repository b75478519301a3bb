import type { BlockDeviceImage, BlockDeviceLimits, BlockDeviceSpec } from "../block-devices.js";
import { expectObject, FieldReader } from "./field-reader.js";
import { formatLimits, parseLimits } from "./journal-limits.js";

/** The format this version writes, and the newest it reads. Format 1 has no limits and no resize. */
export const journalFormatVersion = 2;

/** An image, and how to recognise it: a file of the same path may be another file. */
export interface ImageIdentity extends BlockDeviceImage {
  inode: bigint;
  /** st_dev of the file system that holds it. */
  device: bigint;
}

/** What the journal knows of the device of one volume. */
export interface JournalEntry {
  volumeId: string;
  /** `adding` until the kernel has made the device: nobody has been told of it yet. */
  state: "adding" | "serving";
  /** Random for each device, and kept by the kernel: the proof that a device is the one meant here. */
  ownerTag: bigint;
  /** Known once the kernel has chosen it. */
  deviceId: number | undefined;
  /** How many servers the device has had. */
  generation: number;
  image: ImageIdentity;
  sizeBytes: bigint;
  /** The size that a resize is about to give the device: a crash may leave it with either. */
  resizingToBytes: bigint | undefined;
  /** Given to the device again by whoever recovers it. */
  limits: BlockDeviceLimits;
  logicalBlockSizeBytes: number;
  readOnly: boolean;
  discard: boolean;
  queueCount: number;
  queueDepth: number;
  maxIoBytes: number;
  /** Names of the features the kernel granted. */
  features: readonly string[];
}

/** A file of the journal cannot be used; it stays where it is. */
export class JournalError extends Error {
  override readonly name = "JournalError";

  constructor(
    readonly code: "corrupt" | "newer",
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}

/** Whether an entry describes the device that the spec asks for. Queues and discard are tuning, not identity. */
export function matchesSpec(entry: JournalEntry, spec: BlockDeviceSpec): boolean {
  return (
    entry.image.kind === spec.image.kind &&
    entry.image.path === spec.image.path &&
    entry.sizeBytes === spec.sizeBytes &&
    entry.readOnly === spec.readOnly &&
    entry.logicalBlockSizeBytes === spec.logicalBlockSizeBytes
  );
}

/** The text of an entry's file. 64-bit numbers are strings, for JSON's numbers end at 53 bits. */
export function formatEntry(entry: JournalEntry): string {
  const { image, ownerTag, sizeBytes, resizingToBytes, limits, deviceId, ...plain } = entry;
  const record = {
    formatVersion: journalFormatVersion,
    ...plain,
    deviceId: deviceId ?? null,
    ownerTag: `0x${ownerTag.toString(16).padStart(16, "0")}`,
    sizeBytes: String(sizeBytes),
    resizingToBytes: resizingToBytes === undefined ? null : String(resizingToBytes),
    limits: formatLimits(limits),
    image: { ...image, inode: String(image.inode), device: String(image.device) },
  };
  return `${JSON.stringify(record, undefined, 2)}\n`;
}

/** Reads the text of the file `path` back, which must be about `volumeId`. Throws a {@link JournalError}. */
export function parseEntry(text: string, volumeId: string, path: string): JournalEntry {
  const record = toRecord(text, path);
  if (typeof record.formatVersion === "number" && record.formatVersion > journalFormatVersion) {
    throw new JournalError(
      "newer",
      `${path} has format ${record.formatVersion}, and this version reads up to ${journalFormatVersion}: ` +
        "run the version that wrote it, or a later one",
    );
  }
  try {
    return toEntry(record, volumeId);
  } catch (cause) {
    throw corrupt(path, cause);
  }
}

function toRecord(text: string, path: string): Record<string, unknown> {
  try {
    return expectObject(JSON.parse(text));
  } catch (cause) {
    throw corrupt(path, cause);
  }
}

function corrupt(path: string, cause: unknown): JournalError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new JournalError(
    "corrupt",
    `${path} is corrupt (${reason}): it was left as it is; remove it once no device of its volume is in use`,
    { cause },
  );
}

function toEntry(record: Record<string, unknown>, volumeId: string): JournalEntry {
  const read = new FieldReader(record);
  const image = new FieldReader(expectObject(record.image));
  const isFirstFormat = read.oneOf("formatVersion", [1, journalFormatVersion]) === 1;
  return {
    volumeId: read.oneOf("volumeId", [volumeId]),
    state: read.oneOf("state", ["adding", "serving"]),
    ownerTag: read.bigint("ownerTag"),
    deviceId: record.deviceId === null ? undefined : read.integer("deviceId"),
    generation: read.integer("generation"),
    image: {
      kind: image.oneOf("kind", ["file", "memory"]),
      path: image.text("path"),
      inode: image.bigint("inode"),
      device: image.bigint("device"),
    },
    sizeBytes: read.bigint("sizeBytes"),
    resizingToBytes: isFirstFormat || record.resizingToBytes === null ? undefined : read.bigint("resizingToBytes"),
    limits: isFirstFormat ? {} : parseLimits(expectObject(record.limits)),
    logicalBlockSizeBytes: read.oneOf("logicalBlockSizeBytes", [512, 4096]),
    readOnly: read.oneOf("readOnly", [true, false]),
    discard: read.oneOf("discard", [true, false]),
    queueCount: read.integer("queueCount"),
    queueDepth: read.integer("queueDepth"),
    maxIoBytes: read.integer("maxIoBytes"),
    features: read.texts("features"),
  };
}
