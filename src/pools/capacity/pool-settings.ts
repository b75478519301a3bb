/** Room of a pool that no booking may take: so many bytes, or so much of the pool's size. */
export type Reserve = { bytes: bigint } | { percent: number };

/** From how much use on a pool is said to fill up. */
export interface Watermarks {
  warningPercent: number;
  criticalPercent: number;
}

/** How an administrator wants a pool to be handed out. */
export interface PoolSettings {
  reserve: Reserve;
  /** How many bytes thin volumes may be promised for each byte that is booked for them; 1 promises nothing twice. */
  overcommit: number;
  watermarks: Watermarks;
}

export const defaultPoolSettings: PoolSettings = {
  reserve: { bytes: 0n },
  overcommit: 1,
  watermarks: { warningPercent: 85, criticalPercent: 95 },
};

/** What is kept free of a pool of this size. */
export function toReservedBytes(reserve: Reserve, sizeBytes: bigint): bigint {
  if ("bytes" in reserve) return reserve.bytes;
  return (sizeBytes * toThousandths(reserve.percent)) / 100_000n;
}

/** Percentages and ratios have up to three decimals; sizes stay integers. */
export function toThousandths(value: number): bigint {
  return BigInt(Math.round(value * 1000));
}
