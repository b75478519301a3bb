import type { NativeLimits } from "./addon.js";
import { UblkError } from "./errors.js";
import { showValue } from "./show-value.js";

/**
 * Ceilings of one device; what is absent has none. Operations and bytes of reads, of writes, and of both together. Discards
 * and write-zeroes count as writes without bytes, and flushes are never held back.
 */
export interface Limits {
  readIops?: number | bigint;
  writeIops?: number | bigint;
  iops?: number | bigint;
  readBytesPerSecond?: number | bigint;
  writeBytesPerSecond?: number | bigint;
  bytesPerSecond?: number | bigint;
  /** How much of an idle time may be made up for at once. Default 20 ms, at most a minute. */
  burstMs?: number;
}

export const defaultBurstMs = 20;
const maxBurstMs = 60_000;
/** Beyond this a ceiling is none, and the engine's nanoseconds per byte would lose their precision. */
const maxRate = 10 ** 12;

const rates = [
  "readIops",
  "writeIops",
  "iops",
  "readBytesPerSecond",
  "writeBytesPerSecond",
  "bytesPerSecond",
] as const satisfies readonly (keyof Limits)[];

/** No ceiling at all. */
export const unlimited: NativeLimits = toNativeLimits({}, "createAndServe");

/** Returns the limits as native code takes them, 0 for none, or throws a `UblkError` that names the culprit. */
export function toNativeLimits(limits: Limits, operation: string): NativeLimits {
  const known: readonly string[] = [...rates, "burstMs"];
  const unknownName = Object.keys(limits ?? {}).find((name) => !known.includes(name));
  if (typeof limits !== "object" || limits === null) fail(operation, "limits", limits, "an object");
  if (unknownName !== undefined) {
    fail(operation, "limits: the unknown name", unknownName, `one of ${known.join(", ")}`);
  }
  const checked = rates.map((name) => [name, toRate(name, limits[name], operation)]);
  return { ...Object.fromEntries(checked), burstMs: toBurst(limits.burstMs, operation) };
}

function toRate(name: string, value: unknown, operation: string): number {
  if (value === undefined) return 0;
  const rate = typeof value === "bigint" ? Number(value) : value;
  if (typeof rate === "number" && Number.isInteger(rate) && rate >= 1 && rate <= maxRate) return rate;
  const expected = `a whole number from 1 to ${maxRate}`;
  fail(operation, `limits.${name}`, value, expected, rate === 0 ? `leave ${name} out to have no limit` : undefined);
}

function toBurst(value: unknown, operation: string): number {
  if (value === undefined) return defaultBurstMs;
  if (typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= maxBurstMs) return value;
  fail(operation, "limits.burstMs", value, `a whole number from 1 to ${maxBurstMs}`);
}

function fail(operation: string, name: string, value: unknown, expected: string, hint?: string): never {
  throw new UblkError("invalid_option", `${name} is ${showValue(value)}; expected ${expected}`, {
    operation,
    ...(hint !== undefined && { hint }),
  });
}
