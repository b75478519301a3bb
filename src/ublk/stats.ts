import type { NativeLatency, NativeStats } from "./addon.js";
import { type LatencyHistogram, toLatencyHistogram } from "./latency.js";

/** Counters since this process began to serve the device, summed over its queues. Reading them disturbs nothing. */
export interface DeviceStats extends Omit<NativeStats, "latency"> {
  latency: Record<keyof NativeLatency, LatencyHistogram>;
}

/** Gives names and bounds to what native code counts. */
export function toDeviceStats({ latency, ...counters }: NativeStats): DeviceStats {
  const { read, write, flush, discard, writeZeroes } = latency;
  return {
    ...counters,
    latency: {
      read: toLatencyHistogram(read),
      write: toLatencyHistogram(write),
      flush: toLatencyHistogram(flush),
      discard: toLatencyHistogram(discard),
      writeZeroes: toLatencyHistogram(writeZeroes),
    },
  };
}
