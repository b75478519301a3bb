import type { CapacityRange as ProtoRange } from "../gen/csi/csi.js";
import type { CapacityRange } from "../pools/parameters/capacity-range.js";

/** In proto3 an absent bound and a bound of 0 look the same. */
export function fromProtoRange(range: ProtoRange | undefined): CapacityRange | undefined {
  if (range === undefined) return undefined;
  return { requiredBytes: range.requiredBytes || undefined, limitBytes: range.limitBytes || undefined };
}
