/** One UBLK_F_* bit of the kernel driver. */
export interface Feature {
  /** The name without its UBLK_F_ prefix, for example `USER_RECOVERY`. */
  name: string;
  /** Position in the 64-bit mask. */
  bit: number;
  /** The first upstream kernel that works with it. Distributions backport: trust the mask, not the version. */
  firstKernel: string;
}

/** Every feature up to kernel 7.3, lowest bit first. */
export const knownFeatures = [
  { bit: 0, name: "SUPPORT_ZERO_COPY", firstKernel: "6.15" },
  { bit: 1, name: "URING_CMD_COMP_IN_TASK", firstKernel: "6.0" },
  { bit: 2, name: "NEED_GET_DATA", firstKernel: "6.0" },
  { bit: 3, name: "USER_RECOVERY", firstKernel: "6.1" },
  { bit: 4, name: "USER_RECOVERY_REISSUE", firstKernel: "6.1" },
  { bit: 5, name: "UNPRIVILEGED_DEV", firstKernel: "6.3" },
  { bit: 6, name: "CMD_IOCTL_ENCODE", firstKernel: "6.4" },
  { bit: 7, name: "USER_COPY", firstKernel: "6.5" },
  { bit: 8, name: "ZONED", firstKernel: "6.6" },
  { bit: 9, name: "USER_RECOVERY_FAIL_IO", firstKernel: "6.13" },
  { bit: 10, name: "UPDATE_SIZE", firstKernel: "6.16" },
  { bit: 11, name: "AUTO_BUF_REG", firstKernel: "6.16" },
  { bit: 12, name: "QUIESCE", firstKernel: "6.16" },
  { bit: 13, name: "PER_IO_DAEMON", firstKernel: "6.16" },
  { bit: 14, name: "BUF_REG_OFF_DAEMON", firstKernel: "6.17" },
  { bit: 15, name: "BATCH_IO", firstKernel: "7.0" },
  { bit: 16, name: "INTEGRITY", firstKernel: "7.0" },
  { bit: 17, name: "SAFE_STOP_DEV", firstKernel: "7.0" },
  { bit: 18, name: "NO_AUTO_PART_SCAN", firstKernel: "7.0" },
  { bit: 19, name: "SHMEM_ZC", firstKernel: "7.1" },
  { bit: 20, name: "IO_DESC_SIZE", firstKernel: "7.3" },
] as const satisfies readonly Feature[];

/** The name of a feature that this library knows. */
export type FeatureName = (typeof knownFeatures)[number]["name"];

/** What every kernel from 6.8 on has, and below which nothing is served: bits 1 to 8. */
export const floorMask = 0x1fen;
export const floorKernel = "6.8";

/** What one request for features lost on its way through the kernel. */
export interface FeatureComparison {
  granted: string[];
  /** Requested, but masked by the kernel without an error. */
  lost: string[];
}

/** The mask of the named features; an unknown name is a programmer's mistake and throws. */
export function toMask(...names: readonly string[]): bigint {
  return names.reduce((mask, name) => mask | (1n << BigInt(findFeature(name).bit)), 0n);
}

/** The names in a mask, lowest bit first. A bit younger than this library is called `BIT_<n>`. */
export function toFeatureNames(mask: bigint): string[] {
  const names: string[] = [];
  for (let bit = 0; mask >> BigInt(bit) > 0n; bit++) {
    if ((mask >> BigInt(bit)) & 1n) names.push(knownFeatures[bit]?.name ?? `BIT_${bit}`);
  }
  return names;
}

/** The features in a mask with their first kernel; `unknown` for a bit younger than this library. */
export function toFeatures(mask: bigint): Feature[] {
  return toFeatureNames(mask).map(
    (name) =>
      knownFeatures.find((feature) => feature.name === name) ?? {
        name,
        bit: Number(name.slice("BIT_".length)),
        firstKernel: "unknown",
      },
  );
}

/** The kernel masks what it does not know instead of failing: this names every loss. */
export function compareFeatures(requested: bigint, granted: bigint): FeatureComparison {
  return { granted: toFeatureNames(granted), lost: toFeatureNames(requested & ~granted) };
}

/** What a mask lacks of {@link floorMask}, described for a message. */
export function describeMissingFloor(offered: bigint): string[] {
  return toFeatureNames(floorMask & ~offered).map(describeFeature);
}

/** Whether this library knows a feature of that name. */
export function isFeatureName(name: unknown): name is FeatureName {
  return knownFeatures.some((known) => known.name === name);
}

/** `USER_RECOVERY (first in kernel 6.1)`, for messages. */
export function describeFeature(name: string): string {
  const feature = knownFeatures.find((known) => known.name === name);
  return feature ? `${name} (first in kernel ${feature.firstKernel})` : name;
}

function findFeature(name: string): Feature {
  const feature = knownFeatures.find((known) => known.name === name);
  if (!feature) throw new TypeError(`unknown ublk feature ${name}; expected one of the names in knownFeatures`);
  return feature;
}
