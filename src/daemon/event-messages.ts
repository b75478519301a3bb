import type { BlockDeviceEvent } from "../engine/block-devices.js";
import { Change_Kind, type EventsResponse } from "../gen/engine/v1/engine.js";

const kinds = {
  attached: Change_Kind.KIND_ATTACHED,
  detached: Change_Kind.KIND_DETACHED,
  recovered: Change_Kind.KIND_RECOVERED,
  stopped: Change_Kind.KIND_STOPPED,
  resized: Change_Kind.KIND_RESIZED,
  thawed: Change_Kind.KIND_THAWED,
} satisfies Record<Exclude<BlockDeviceEvent["kind"], "io-error">, Change_Kind>;

export function toEventMessage(event: BlockDeviceEvent): EventsResponse {
  if (event.kind === "io-error") {
    const { kind: _kind, atMs = 0, ...rest } = event;
    return { event: { $case: "ioError", value: { ...rest, atMs: BigInt(atMs) } } };
  }
  const { kind, volumeId, deviceId } = event;
  const sizeBytes = "sizeBytes" in event ? event.sizeBytes : 0n;
  return { event: { $case: "change", value: { kind: kinds[kind], volumeId, deviceId, sizeBytes } } };
}

/** Undefined for what is no event of a device, or one that this version does not know. */
export function fromEventMessage({ event }: EventsResponse): BlockDeviceEvent | undefined {
  if (event?.$case === "ioError") {
    const { atMs, ...rest } = event.value;
    return { kind: "io-error", ...rest, ...(atMs === 0n ? {} : { atMs: Number(atMs) }) };
  }
  if (event?.$case !== "change") return undefined;
  const { kind, volumeId, deviceId, sizeBytes } = event.value;
  const name = (Object.keys(kinds) as (keyof typeof kinds)[]).find((known) => kinds[known] === kind);
  if (name === undefined) return undefined;
  if (name === "attached" || name === "recovered" || name === "resized") {
    return { kind: name, volumeId, deviceId, sizeBytes };
  }
  return { kind: name, volumeId, deviceId };
}
