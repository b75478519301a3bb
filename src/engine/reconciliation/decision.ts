import type { DeviceInfo } from "../../ublk/index.js";
import { findImageChange } from "../journal/image-identity.js";
import type { JournalEntry } from "../journal/journal-entry.js";
import type { Match } from "./kernel-view.js";

/** What journal, kernel and image together say has to be done about one journal entry. */
export type Decision =
  /** Take the device back; `entry` says what the kernel has, a resize cut short included. */
  | { action: "adopt"; info: DeviceInfo; entry: JournalEntry; reason: string }
  /** A process still serves it: it may be about to end. */
  | { action: "wait"; info: DeviceInfo; reason: string }
  /** Remove the device, if there is one, and forget the entry. */
  | { action: "remove"; info: DeviceInfo | undefined; reason: string }
  /** They disagree: touch nothing. */
  | { action: "report"; info: DeviceInfo | undefined; reason: string };

/** Decides about one entry. It reads the image's metadata and changes nothing. */
export async function decide(entry: JournalEntry, match: Match): Promise<Decision> {
  if (match.kind === "mismatch") return { action: "report", info: undefined, reason: match.reason };
  if (match.kind === "gone") return { action: "remove", info: undefined, reason: match.reason };
  const { info } = match;
  if (info.state === "dead") return { action: "remove", info, reason: "the device was dead" };
  if (entry.state === "adding" && info.state !== "live") {
    return { action: "remove", info, reason: "its creation was interrupted" };
  }
  const settled = settleResize(entry, info);
  const change = await findImageChange(settled);
  if (change === undefined && info.state === "live") {
    return { action: "wait", info, reason: `it is still served by process ${info.serverPid ?? "?"}` };
  }
  if (change === undefined) return { action: "adopt", info, entry: settled, reason: "it waits for a server" };
  return { action: "report", info, reason: `${change}; the device waits and nothing was touched` };
}

/** The kernel knows whether a resize that was cut short has happened. */
function settleResize(entry: JournalEntry, { sizeBytes }: DeviceInfo): JournalEntry {
  return entry.resizingToBytes === undefined ? entry : { ...entry, sizeBytes, resizingToBytes: undefined };
}
