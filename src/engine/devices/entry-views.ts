import { type BlockDevice, BlockDeviceError, type BlockDeviceServing } from "../block-devices.js";
import type { JournalEntry } from "../journal/journal-entry.js";
import type { Match } from "../reconciliation/kernel-view.js";
import type { ServedDevice } from "./device-maker.js";

/** What every line of the log about an entry's device says. */
export function toFields({ volumeId, deviceId }: JournalEntry): { volumeId: string; deviceId?: number } {
  return { volumeId, ...(deviceId !== undefined && { deviceId }) };
}

/** The same about a device that is served here, with what was chosen for it, and what it was refused, and why. */
export function toServingFields({ entry, device }: ServedDevice): Record<string, unknown> {
  const refused = device.featureReport
    .filter(({ wish, granted }) => !granted && (wish === "required" || wish === "preferred"))
    .map(({ name, refusal }) => `${name}: ${refusal?.cause ?? "not-granted"}`);
  return { ...toFields(entry), ...toServing(device), refused };
}

/** The device of an entry as the kernel has it; undefined when there is none, or none that anybody was told of. */
export function toFoundDevice(
  entry: JournalEntry,
  match: Match,
  served: ServedDevice | undefined,
): BlockDevice | undefined {
  if (match.kind === "mismatch") throw new BlockDeviceError("internal", `volume ${entry.volumeId}: ${match.reason}`);
  if (match.kind === "gone" || entry.state === "adding") return undefined;
  const { state, sizeBytes } = match.info;
  const isSettled = entry.resizingToBytes === undefined || state === "dead";
  const device = toBlockDevice(isSettled ? entry : { ...entry, sizeBytes }, state === "fail-io" ? "quiesced" : state);
  return served && state === "live" ? { ...device, serving: toServing(served.device) } : device;
}

/** A device that is served here. */
export function toServedDevice({ entry, device }: ServedDevice): BlockDevice {
  return { ...toBlockDevice(entry, "live"), serving: toServing(device) };
}

function toServing(device: ServedDevice["device"]): BlockDeviceServing {
  const { features, dataMode, batch, direct, queueCount, queueDepth } = device;
  return { features, dataMode, batch, direct, queueCount, queueDepth };
}

function toBlockDevice(entry: JournalEntry, state: BlockDevice["state"]): BlockDevice {
  const { volumeId, deviceId = -1, sizeBytes, readOnly } = entry;
  return { volumeId, deviceId, path: `/dev/ublkb${deviceId}`, sizeBytes, readOnly, state };
}

export function specMismatch(entry: JournalEntry): BlockDeviceError {
  const { volumeId, image, sizeBytes, readOnly, logicalBlockSizeBytes } = entry;
  const has = `${image.path}, ${sizeBytes} bytes, ${readOnly ? "read-only" : "writable"}, blocks of ${logicalBlockSizeBytes}`;
  return new BlockDeviceError(
    "spec_mismatch",
    `volume ${volumeId} has a device over ${has}: detach it before it is attached otherwise`,
  );
}
