import type { Provisioning } from "../volume/volume.js";
import { toThousandths } from "./pool-settings.js";

/** What decides how much of its size a volume is booked with. */
export interface BookingRules {
  provisioning: Provisioning;
  /** Of the pool. */
  overcommit: number;
}

/** What a volume of this size takes of its pool's book: thick ones all of it, thin ones the pool's ratio less. */
export function toBookedBytes(sizeBytes: bigint, rules: BookingRules): bigint {
  const ratio = ratioOf(rules);
  return (sizeBytes * 1000n + ratio - 1n) / ratio;
}

/** The largest size that may be booked with so many bytes. */
export function toSizeBytes(bookedBytes: bigint, rules: BookingRules): bigint {
  return (bookedBytes * ratioOf(rules)) / 1000n;
}

/** In thousandths. */
function ratioOf({ provisioning, overcommit }: BookingRules): bigint {
  return provisioning === "thin" ? toThousandths(overcommit) : 1000n;
}
