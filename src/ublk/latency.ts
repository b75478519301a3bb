import type { NativeHistogram } from "./addon.js";

/** How long the target took for the successful requests of one operation. */
export interface LatencyHistogram {
  count: bigint;
  sumNs: bigint;
  /** The buckets that hold something, fastest first. */
  buckets: readonly LatencyBucket[];
}

/** `count` requests took at least `fromNs` and less than `belowNs`, which is Infinity for the last bucket. */
export interface LatencyBucket {
  fromNs: number;
  belowNs: number;
  count: bigint;
}

// As in native/src/histogram.hpp: one bucket below 1024 ns, then four of equal width for each power of two.
const firstBoundNs = 1024;
const bucketsPerPower = 4;

/** Gives the engine's counts their bounds. */
export function toLatencyHistogram({ counts, sumNs }: NativeHistogram): LatencyHistogram {
  const buckets: LatencyBucket[] = [];
  let total = 0n;
  counts.forEach((count, index) => {
    total += count;
    if (count === 0n) return;
    const belowNs = index === counts.length - 1 ? Number.POSITIVE_INFINITY : toLowerBoundNs(index + 1);
    buckets.push({ fromNs: toLowerBoundNs(index), belowNs, count });
  });
  return { count: total, sumNs, buckets };
}

/**
 * The time within which the given share of the requests was done, rounded up to its bucket's end; undefined when there
 * was none. `share` is from 0 to 1.
 */
export function toQuantileNs({ count, buckets }: LatencyHistogram, share: number): number | undefined {
  const wanted = Number(count) * share;
  let seen = 0;
  for (const bucket of buckets) {
    seen += Number(bucket.count);
    if (seen >= wanted) return bucket.belowNs;
  }
  return undefined;
}

function toLowerBoundNs(index: number): number {
  if (index === 0) return 0;
  const power = Math.floor((index - 1) / bucketsPerPower);
  const step = (index - 1) % bucketsPerPower;
  return (firstBoundNs / bucketsPerPower) * 2 ** power * (bucketsPerPower + step);
}
