import { normalize } from "node:path";
import { BlockDeviceError, type BlockDeviceImage, type BlockDeviceSpec } from "../engine/block-devices.js";
import { type AttachRequest, type Image, Image_Kind } from "../gen/engine/v1/engine.js";

const pathBytesMax = 4096;
const sizeBytesMax = 2n ** 63n - 1n;
const queueCountMax = 4096;
const queueDepthMax = 4096;
const volumeCountMax = 1024;

/** The spec that a request asks for. Requests come from outside: nothing in them is trusted. */
export function checkSpec(request: AttachRequest): BlockDeviceSpec {
  const { readOnly, discard, queueCount, queueDepth } = request;
  const volumeId = checkVolumeId(request.volumeId);
  const logicalBlockSizeBytes = checkBlock(request.logicalBlockSizeBytes);
  return {
    volumeId,
    image: checkImage(request.image),
    sizeBytes: checkSize(request.sizeBytes, logicalBlockSizeBytes),
    readOnly,
    logicalBlockSizeBytes,
    discard,
    ...(queueCount !== undefined && { queueCount: checkRange("queue_count", queueCount, 1, queueCountMax) }),
    ...(queueDepth !== undefined && { queueDepth: checkRange("queue_depth", queueDepth, 1, queueDepthMax) }),
  };
}

/** An id that may become the name of a file. */
export function checkVolumeId(volumeId: string, name = "volume_id"): string {
  if (/^[a-z0-9-]{1,128}$/.test(volumeId)) return volumeId;
  throw invalid(name, JSON.stringify(volumeId.slice(0, 200)), "1 to 128 of a-z, 0-9 and -");
}

/** Ids that name a group of devices: at least one, each once. */
export function checkVolumeIds(volumeIds: readonly string[]): string[] {
  if (volumeIds.length === 0 || volumeIds.length > volumeCountMax) {
    throw invalid("volume_ids", `a list of ${volumeIds.length}`, `1 to ${volumeCountMax} ids`);
  }
  const checked = volumeIds.map((volumeId) => checkVolumeId(volumeId));
  const repeated = checked.find((volumeId, position) => checked.indexOf(volumeId) !== position);
  if (repeated === undefined) return checked;
  throw invalid("volume_ids", `a list with ${repeated} twice`, "each id once");
}

/** A whole number of a message within bounds. */
export function checkRange(name: string, value: number, min: number, max: number): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw invalid(name, String(value), `${min} to ${max}`);
}

/** What a freeze answered. Zero is what a caller sends who has none. */
export function checkToken(token: bigint): bigint {
  if (token > 0n) return token;
  throw invalid("token", String(token), "what Freeze answered");
}

/** A size that a device may have; whether it fits the device's block is checked where the block is known. */
export function checkSize(sizeBytes: bigint, blockSizeBytes: number): bigint {
  if (sizeBytes > 0n && sizeBytes <= sizeBytesMax && sizeBytes % BigInt(blockSizeBytes) === 0n) return sizeBytes;
  throw invalid("size_bytes", String(sizeBytes), `a multiple of ${blockSizeBytes} from ${blockSizeBytes}`);
}

function checkBlock(sizeBytes: number): number {
  if (sizeBytes === 512 || sizeBytes === 4096) return sizeBytes;
  throw invalid("logical_block_size_bytes", String(sizeBytes), "512 or 4096");
}

/** Where an image lies, and in what way. */
export function checkImage(image: Image | undefined): BlockDeviceImage {
  const path = checkPath(image?.path ?? "");
  if (image?.kind === Image_Kind.KIND_FILE) return { kind: "file", path };
  if (image?.kind === Image_Kind.KIND_MEMORY) return { kind: "memory", path };
  throw invalid("image.kind", String(image?.kind), "KIND_FILE or KIND_MEMORY");
}

/** A path that says without doubt which file it names. */
export function checkPath(path: string, name = "image.path"): string {
  const sizeBytes = Buffer.byteLength(path);
  if (sizeBytes > pathBytesMax) throw invalid(name, `of ${sizeBytes} bytes`, `at most ${pathBytesMax}`);
  const isPlain = path.startsWith("/") && !path.endsWith("/") && normalize(path) === path && !path.includes("\0");
  if (isPlain) return path;
  throw invalid(name, JSON.stringify(path), "an absolute, normalised path of a file");
}

/** The error of a field that cannot be right. */
export function invalid(name: string, given: string, expected: string): BlockDeviceError {
  return new BlockDeviceError("invalid", `${name} is ${given}; expected ${expected}`);
}
