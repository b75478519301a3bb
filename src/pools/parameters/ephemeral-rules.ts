import type { BlockDeviceLimits } from "../../engine/block-devices.js";

/** What the administrator lets the authors of pods have as inline volumes. */
export interface EphemeralRules {
  /** For a volume without an attribute `size`. */
  sizeBytesDefault: bigint;
  /** Of one volume. */
  sizeBytesMax: bigint;
  /** The pools that inline volumes may lie in, the default one first; undefined means the node's first pool alone. */
  poolNames: readonly string[] | undefined;
  /** Inline volumes that the node has at a time. */
  volumeCountMax: number;
  /** Of one volume, and what it has when the author of its pod chooses none; undefined means no ceilings. */
  limitsMax?: BlockDeviceLimits | undefined;
}

export const defaultEphemeralRules: EphemeralRules = {
  sizeBytesDefault: 1024n ** 3n,
  sizeBytesMax: 10n * 1024n ** 3n,
  poolNames: undefined,
  volumeCountMax: 100,
};
