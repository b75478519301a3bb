import { type BlockDeviceLimits, blockDeviceRates } from "../block-devices.js";
import { FieldReader } from "./field-reader.js";

const names = [...blockDeviceRates, "burstMs"] as const;

/** The limits that there are, for JSON. */
export function formatLimits(limits: BlockDeviceLimits): Record<string, number> {
  const given = names.filter((name) => limits[name] !== undefined);
  return Object.fromEntries(given.map((name) => [name, limits[name] as number]));
}

/** Reads them back. */
export function parseLimits(record: Record<string, unknown>): BlockDeviceLimits {
  const read = new FieldReader(record);
  const given = names.filter((name) => record[name] !== undefined);
  return Object.fromEntries(given.map((name) => [name, read.integer(name)]));
}
