import { type BlockDevice, BlockDeviceError } from "./block-devices.js";
import type { JournalEntry } from "./journal-entry.js";
import type { Match } from "./kernel-view.js";

/** What every line of the log about an entry's device says. */
export function toFields({ volumeId, deviceId }: JournalEntry): { volumeId: string; deviceId?: number } {
  return { volumeId, ...(deviceId !== undefined && { deviceId }) };
}

/** The device of an entry as the kernel has it; undefined when there is none, or none that anybody was told of. */
export function toFoundDevice(entry: JournalEntry, match: Match): BlockDevice | undefined {
  if (match.kind === "mismatch") throw new BlockDeviceError("internal", `volume ${entry.volumeId}: ${match.reason}`);
  if (match.kind === "gone" || entry.state === "adding") return undefined;
  const { state, sizeBytes } = match.info;
  const isSettled = entry.resizingToBytes === undefined || state === "dead";
  return toBlockDevice(isSettled ? entry : { ...entry, sizeBytes }, state === "fail-io" ? "quiesced" : state);
}

export function toBlockDevice(entry: JournalEntry, state: BlockDevice["state"]): BlockDevice {
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
