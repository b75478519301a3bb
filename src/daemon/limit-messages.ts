import { type BlockDeviceLimits, blockDeviceRates } from "../engine/block-devices.js";
import type { Limits } from "../gen/engine/v1/engine.js";

export function toLimitsMessage(limits: BlockDeviceLimits): Limits {
  const toWire = (value: number | undefined) => (value === undefined ? undefined : BigInt(value));
  const wired = Object.fromEntries(blockDeviceRates.map((name) => [name, toWire(limits[name])]));
  return { ...(wired as Record<(typeof blockDeviceRates)[number], bigint | undefined>), burstMs: limits.burstMs };
}

export function fromLimitsMessage(message: Limits | undefined): BlockDeviceLimits {
  if (message === undefined) return {};
  const given = blockDeviceRates.filter((name) => message[name] !== undefined);
  const { burstMs } = message;
  return {
    ...Object.fromEntries(given.map((name) => [name, Number(message[name])])),
    ...(burstMs !== undefined && { burstMs }),
  };
}
