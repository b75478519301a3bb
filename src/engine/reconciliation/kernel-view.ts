import type { DeviceInfo } from "../../ublk/index.js";
import type { Ublk } from "../../ublk/ublk.js";
import type { JournalEntry } from "../journal/journal-entry.js";

/** What the kernel has for a journal entry. */
export type Match =
  | { kind: "found"; info: DeviceInfo }
  /** No device of the kernel carries the entry's tag. */
  | { kind: "gone"; reason: string }
  /** Journal and kernel disagree, or the kernel could not be asked: nothing may be touched. */
  | { kind: "mismatch"; reason: string };

/** The kernel's devices at one moment, those that could not be read included. */
export interface KernelView {
  devices: DeviceInfo[];
  unreadable: { deviceId: number; reason: string }[];
}

/** Reads every device of the machine; one that cannot be read does not hide the others. */
export async function readKernelView(ublk: Ublk): Promise<KernelView> {
  const view: KernelView = { devices: [], unreadable: [] };
  for (const deviceId of await ublk.listDeviceIds()) await readInto(view, ublk, deviceId);
  return view;
}

/** Reads one device only, which is enough for an entry that names it. */
export async function readViewOfOne(ublk: Ublk, deviceId: number): Promise<KernelView> {
  const view: KernelView = { devices: [], unreadable: [] };
  await readInto(view, ublk, deviceId);
  return view;
}

async function readInto(view: KernelView, ublk: Ublk, deviceId: number): Promise<void> {
  try {
    const info = await ublk.findDevice(deviceId);
    if (info) view.devices.push(info);
  } catch (error) {
    view.unreadable.push({ deviceId, reason: error instanceof Error ? error.message : String(error) });
  }
}

/**
 * Finds the device of an entry by its tag, which is random and 64 bits wide: a device that does not carry it belongs to
 * somebody else, even under the id that the entry names.
 */
export function matchDevice(entry: JournalEntry, view: KernelView): Match {
  const [info, second] = view.devices.filter((device) => device.ownerTag === entry.ownerTag);
  if (second) return mismatch(`the devices ${info?.deviceId} and ${second.deviceId} carry the same owner tag`);
  if (!info) return matchNothing(entry, view);
  if (entry.deviceId !== undefined && entry.deviceId !== info.deviceId) {
    return mismatch(`the journal names device ${entry.deviceId}, but its owner tag is on device ${info.deviceId}`);
  }
  if (entry.state === "serving" && info.state !== "dead" && !hasExpectedSize(entry, info)) {
    return mismatch(`device ${info.deviceId} has ${info.sizeBytes} bytes; the journal says ${entry.sizeBytes}`);
  }
  return { kind: "found", info };
}

function hasExpectedSize({ sizeBytes, resizingToBytes }: JournalEntry, info: DeviceInfo): boolean {
  return info.sizeBytes === sizeBytes || info.sizeBytes === resizingToBytes;
}

function matchNothing(entry: JournalEntry, { devices, unreadable }: KernelView): Match {
  const unknown = unreadable.find(({ deviceId }) => entry.deviceId === undefined || entry.deviceId === deviceId);
  if (unknown) return mismatch(`device ${unknown.deviceId} cannot be read: ${unknown.reason}`);
  if (entry.deviceId === undefined) return { kind: "gone", reason: "the kernel had not made the device" };
  const isForeign = devices.some(({ deviceId }) => deviceId === entry.deviceId);
  return {
    kind: "gone",
    reason: isForeign
      ? `device ${entry.deviceId} belongs to somebody else now and was left alone`
      : `the kernel has no device ${entry.deviceId} any more, as after a reboot`,
  };
}

function mismatch(reason: string): Match {
  return { kind: "mismatch", reason: `${reason}; nothing was touched` };
}
