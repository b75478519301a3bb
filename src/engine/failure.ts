import { UblkError, type UblkErrorCode } from "../ublk/index.js";
import { BlockDeviceError, type BlockDeviceErrorCode } from "./block-devices.js";
import { JournalError } from "./journal/journal-entry.js";

const codes: Partial<Record<UblkErrorCode, BlockDeviceErrorCode>> = {
  image_in_use: "in_use",
  image_missing: "image_missing",
  image_unusable: "image_missing",
  invalid_option: "invalid",
  size_misaligned: "invalid",
  feature_missing: "unsupported",
  kernel_broken: "unsupported",
  device_frozen: "frozen",
  owner_mismatch: "internal",
  kernel_refused: "internal",
};

/** The one place that turns whatever went wrong below into a `BlockDeviceError`; one that is already passes unchanged. */
export function toBlockDeviceError(cause: unknown, volumeId: string): BlockDeviceError {
  if (cause instanceof BlockDeviceError) return cause;
  const message = cause instanceof Error ? cause.message : String(cause);
  const code = cause instanceof UblkError ? (codes[cause.code] ?? "unavailable") : "internal";
  const prefix = cause instanceof JournalError ? "journal of " : "";
  return new BlockDeviceError(code, `${prefix}volume ${volumeId}: ${message}`, { cause });
}
