import type { BlockDeviceStats } from "../engine/block-devices.js";
import type { DeviceStats, Latency } from "../gen/engine/v1/engine.js";

type Histogram = BlockDeviceStats["latency"]["read"];

export function toStatsMessage(volumeId: string, { latency, ...counters }: BlockDeviceStats): DeviceStats {
  return {
    volumeId,
    ...counters,
    readLatency: toLatency(latency.read),
    writeLatency: toLatency(latency.write),
    flushLatency: toLatency(latency.flush),
    discardLatency: toLatency(latency.discard),
    writeZeroesLatency: toLatency(latency.writeZeroes),
  };
}

export function fromStatsMessage(message: DeviceStats): BlockDeviceStats {
  const { volumeId: _volumeId, readLatency, writeLatency, flushLatency, ...rest } = message;
  const { discardLatency, writeZeroesLatency, ...counters } = rest;
  return {
    ...counters,
    latency: {
      read: fromLatency(readLatency),
      write: fromLatency(writeLatency),
      flush: fromLatency(flushLatency),
      discard: fromLatency(discardLatency),
      writeZeroes: fromLatency(writeZeroesLatency),
    },
  };
}

/** The last bucket has no end, which is 0 on the wire. */
function toLatency({ count, sumNs, buckets }: Histogram): Latency {
  const toEnd = (belowNs: number) => (Number.isFinite(belowNs) ? BigInt(belowNs) : 0n);
  return {
    count,
    sumNs,
    buckets: buckets.map((bucket) => ({
      fromNs: BigInt(bucket.fromNs),
      belowNs: toEnd(bucket.belowNs),
      count: bucket.count,
    })),
  };
}

function fromLatency(message: Latency | undefined): Histogram {
  const { count = 0n, sumNs = 0n, buckets = [] } = message ?? {};
  const fromEnd = (belowNs: bigint) => (belowNs === 0n ? Number.POSITIVE_INFINITY : Number(belowNs));
  return {
    count,
    sumNs,
    buckets: buckets.map((bucket) => ({
      fromNs: Number(bucket.fromNs),
      belowNs: fromEnd(bucket.belowNs),
      count: bucket.count,
    })),
  };
}
