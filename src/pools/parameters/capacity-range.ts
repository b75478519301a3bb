import { DriverError } from "../../errors.js";
import { maxBytes, minBytes } from "../volume/bytes.js";
import { fsSizeBytesMin, type Volume, type VolumeCapability } from "../volume/volume.js";

/** The size a caller asked for; undefined bounds are open. */
export interface CapacityRange {
  requiredBytes?: bigint | undefined;
  limitBytes?: bigint | undefined;
}

export interface SizeRules {
  logicalBlockSizeBytes: number;
  capabilities: readonly VolumeCapability[];
  /** The size of what the volume begins with, which it may not be smaller than. */
  contentBytes?: bigint | undefined;
}

const defaultSizeBytes = 1024n ** 3n;
/** Of any volume; file systems may need more. */
const smallestSizeBytes = 1024n ** 2n;
/** The longest file that Node can make, less what an encrypted volume's image has besides. */
export const largestSizeBytes = 2n ** 53n - 2n ** 25n;

/**
 * The size of the volume to make: the smallest multiple of the block in the range. When the caller is open it is that of
 * the content, or 1 GiB.
 */
export function chooseSizeBytes(range: CapacityRange | undefined, rules: SizeRules): bigint {
  const blockBytes = BigInt(rules.logicalBlockSizeBytes);
  const { requiredBytes, limitBytes } = holdContent(checkRange(range), rules.contentBytes);
  const floorBytes = smallestFor(rules.capabilities);
  const wantedBytes = requiredBytes ?? minBytes(maxBytes(defaultSizeBytes, floorBytes), limitBytes ?? largestSizeBytes);
  const sizeBytes =
    requiredBytes === undefined ? wantedBytes - (wantedBytes % blockBytes) : roundUp(wantedBytes, blockBytes);
  if (sizeBytes > largestSizeBytes) throw outOfRange(`${sizeBytes} bytes, the largest possible is ${largestSizeBytes}`);
  const chosenBytes = maxBytes(sizeBytes, roundUp(floorBytes, blockBytes));
  if (limitBytes !== undefined && chosenBytes > limitBytes) {
    throw outOfRange(
      `limit_bytes ${limitBytes} leaves no possible size: the smallest that fits is ${chosenBytes} bytes ` +
        `(at least ${floorBytes}, a multiple of the logical block of ${blockBytes})`,
    );
  }
  return chosenBytes;
}

/**
 * The size of a volume after an expansion: what it has when the range allows that, for volumes never shrink; otherwise
 * the smallest multiple of the block in the range.
 */
export function chooseGrownSizeBytes(range: CapacityRange | undefined, volume: Volume): bigint {
  if (range === undefined) throw invalid("required for an expansion: give required_bytes");
  const { requiredBytes = 0n, limitBytes } = checkRange(range);
  const blockBytes = BigInt(volume.parameters.logicalBlockSizeBytes);
  const chosenBytes = maxBytes(roundUp(requiredBytes, blockBytes), volume.sizeBytes);
  if (chosenBytes > largestSizeBytes) throw outOfRange(`${chosenBytes} bytes, the largest is ${largestSizeBytes}`);
  if (limitBytes === undefined || chosenBytes <= limitBytes) return chosenBytes;
  if (volume.sizeBytes > limitBytes) {
    throw outOfRange(`the volume has ${volume.sizeBytes} bytes, more than limit_bytes ${limitBytes}: it never shrinks`);
  }
  const block = `a multiple of the logical block of ${blockBytes}`;
  throw outOfRange(`no size from ${requiredBytes} to ${limitBytes} bytes is ${block}: give such a size`);
}

/** Whether an existing volume satisfies a repeated request. */
export function isInRange(sizeBytes: bigint, range: CapacityRange | undefined): boolean {
  const { requiredBytes, limitBytes } = checkRange(range);
  return sizeBytes >= (requiredBytes ?? 0n) && sizeBytes <= (limitBytes ?? sizeBytes);
}

// CSI: the size of a volume must not be less than that of the snapshot it is made from.
function holdContent({ requiredBytes, limitBytes }: CapacityRange, contentBytes: bigint | undefined): CapacityRange {
  if (contentBytes === undefined) return { requiredBytes, limitBytes };
  for (const [name, bytes] of [
    ["required_bytes", requiredBytes],
    ["limit_bytes", limitBytes],
  ] as const) {
    if (bytes === undefined || bytes >= contentBytes) continue;
    throw outOfRange(`${name} ${bytes} is less than the source, which has ${contentBytes}: ask for at least as much`);
  }
  return { requiredBytes: requiredBytes ?? contentBytes, limitBytes };
}

function checkRange(range: CapacityRange | undefined): CapacityRange {
  if (range === undefined) return {};
  for (const [name, value] of [
    ["required_bytes", range.requiredBytes],
    ["limit_bytes", range.limitBytes],
  ] as const) {
    if (value !== undefined && value < 0n) throw invalid(`${name} is ${value}, it must not be negative`);
  }
  if (range.requiredBytes === undefined && range.limitBytes === undefined) {
    throw invalid(
      "a size of 0 bytes was asked for; give required_bytes or limit_bytes, or leave the range out for 1 GiB",
    );
  }
  if (range.requiredBytes !== undefined && range.limitBytes !== undefined && range.requiredBytes > range.limitBytes) {
    throw invalid(`required_bytes ${range.requiredBytes} is more than limit_bytes ${range.limitBytes}`);
  }
  return range;
}

function smallestFor(capabilities: readonly VolumeCapability[]): bigint {
  return capabilities.reduce((floorBytes, capability) => {
    if (capability.accessType === "block" || capability.fsType === undefined) return floorBytes;
    return maxBytes(floorBytes, fsSizeBytesMin[capability.fsType]);
  }, smallestSizeBytes);
}

function roundUp(bytes: bigint, blockBytes: bigint): bigint {
  return ((bytes + blockBytes - 1n) / blockBytes) * blockBytes;
}

const invalid = (text: string): DriverError => new DriverError("invalid", `capacity_range: ${text}`);
const outOfRange = (text: string): DriverError => new DriverError("out_of_range", `capacity_range: ${text}`);
