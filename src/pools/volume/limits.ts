import * as z from "zod";
import type { BlockDeviceLimits, BlockDevices } from "../../engine/block-devices.js";
import { DriverError } from "../../errors.js";
import { fromByteSize } from "../../system/byte-size.js";
import type { Volume } from "./volume.js";

/** Ceilings that a class chooses. `unlimited` lifts one that the volume would have otherwise; what is absent is not chosen. */
export type VolumeLimits = { [Name in keyof BlockDeviceLimits]?: number | "unlimited" | undefined };

interface Choice {
  limit: keyof BlockDeviceLimits;
  read: (text: string) => number | undefined;
  min: number;
  max: number;
  allowed: string;
}

// Below these a single request, or the making of a file system, would take so long that it looks like a fault.
const operations = { read: readCount, min: 10, max: 10 ** 9, allowed: "a number of operations from 10 to 1000000000" };
const bytes = {
  read: readBytes,
  min: 1024 ** 2,
  max: 10 ** 12,
  allowed: "bytes each second from 1Mi to 1T, such as 100Mi",
};
const time = { read: readMilliseconds, min: 1, max: 60_000, allowed: "a time from 1ms to 60s, such as 500ms" };

/** Every limit by the name that classes give it. */
const choices: Readonly<Record<string, Choice>> = {
  iops: { limit: "iops", ...operations },
  readIops: { limit: "readIops", ...operations },
  writeIops: { limit: "writeIops", ...operations },
  bandwidth: { limit: "bytesPerSecond", ...bytes },
  readBandwidth: { limit: "readBytesPerSecond", ...bytes },
  writeBandwidth: { limit: "writeBytesPerSecond", ...bytes },
  burst: { limit: "burstMs", ...time },
};

export const limitNames: readonly string[] = Object.keys(choices);

/** As records have them. */
export const limitsSchema = z.object(
  Object.fromEntries(
    Object.values(choices).map(({ limit }) => [
      limit,
      z.union([z.int().positive(), z.literal("unlimited")]).optional(),
    ]),
  ),
) as z.ZodType<VolumeLimits>;

/** Reads the limits among the parameters of a StorageClass; undefined when there are none. */
export function parseLimits(parameters: Readonly<Record<string, string>>): VolumeLimits | undefined {
  const chosen = Object.entries(parameters).filter(([name]) => limitNames.includes(name));
  if (chosen.length === 0) return undefined;
  return Object.fromEntries(chosen.map(([name, text]) => parseLimit("parameter", name, text)));
}

/** Reads the parameters of a VolumeAttributesClass, all of which are limits. */
export function parseMutableParameters(parameters: Readonly<Record<string, string>>): VolumeLimits {
  return Object.fromEntries(
    Object.entries(parameters).map(([name, text]) => parseLimit("mutable parameter", name, text)),
  );
}

/**
 * Reads the limits that the author of a pod chooses, within the administrator's maxima. What is not chosen is the maximum,
 * and `unlimited` is for limits that have none. Undefined when there is no limit at all.
 */
export function parseLimitsWithin(
  attributes: Readonly<Record<string, string>>,
  maxima: BlockDeviceLimits,
): VolumeLimits | undefined {
  const chosen = Object.entries(attributes).map(([name, text]) => {
    const [limit, value] = parseLimit("volume attribute", name, text);
    const max = maxima[limit as keyof BlockDeviceLimits];
    if (max === undefined || (value !== "unlimited" && value <= max)) return [limit, value];
    throw new DriverError("invalid", `volume attribute ${name} is "${text}", an inline volume may have ${max} here`);
  });
  const limits: VolumeLimits = { ...maxima, ...Object.fromEntries(chosen) };
  return Object.keys(limits).length === 0 ? undefined : limits;
}

/** Reads maxima by the names that classes give them; the first one wrong is an error, and `unlimited` is none. */
export function parseMaxima(texts: Readonly<Record<string, string>>): BlockDeviceLimits {
  const maxima = Object.entries(texts).map(([name, text]) => parseLimit("maximum", name, text));
  return Object.fromEntries(maxima.filter(([, value]) => value !== "unlimited"));
}

/** The limits by the names that classes give them; what was not chosen is undefined. */
export function toLimitValues(limits: VolumeLimits | undefined): Record<string, number | "unlimited" | undefined> {
  return Object.fromEntries(Object.entries(choices).map(([name, { limit }]) => [name, limits?.[limit]]));
}

/** What holds for a volume: the choice of its VolumeAttributesClass before that of its StorageClass. */
export function effectiveLimits({ parameters, limits }: Volume): BlockDeviceLimits {
  const chosen = Object.entries({ ...parameters.limits, ...limits });
  return Object.fromEntries(chosen.filter(([, value]) => typeof value === "number").sort());
}

/** Gives the device of a volume, if it has one, the limits of the volume. May be repeated. */
export async function applyLimits(volume: Volume, blockDevices: BlockDevices): Promise<void> {
  const device = await blockDevices.find(volume.id);
  if (device === undefined || device.state === "dead") return;
  await blockDevices.setLimits(volume.id, effectiveLimits(volume));
}

function parseLimit(kind: string, name: string, text: string): [limit: string, value: number | "unlimited"] {
  const choice = Object.hasOwn(choices, name) ? choices[name] : undefined;
  if (choice === undefined) {
    throw new DriverError("invalid", `${kind} "${name}" is unknown, known are ${limitNames.join(", ")}`);
  }
  if (text === "unlimited") return [choice.limit, text];
  const value = choice.read(text);
  if (value !== undefined && value >= choice.min && value <= choice.max) return [choice.limit, value];
  throw new DriverError("invalid", `${kind} ${name} is "${text}", allowed is ${choice.allowed}, or "unlimited"`);
}

function readCount(text: string): number | undefined {
  return /^[0-9]{1,10}$/.test(text) ? Number(text) : undefined;
}

function readBytes(text: string): number | undefined {
  const count = fromByteSize(text);
  return count === undefined ? undefined : Number(count);
}

function readMilliseconds(text: string): number | undefined {
  const [, digits, unit] = /^([0-9]{1,6})(ms|s)$/.exec(text) ?? [];
  return digits === undefined ? undefined : Number(digits) * (unit === "s" ? 1000 : 1);
}
