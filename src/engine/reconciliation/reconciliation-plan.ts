import type { DeviceInfo } from "../../ublk/index.js";
import type { AdoptionEntry } from "../block-devices.js";
import type { JournalContents } from "../journal/journal.js";
import type { JournalEntry } from "../journal/journal-entry.js";
import { type Decision, decide } from "./decision.js";
import { type KernelView, matchDevice } from "./kernel-view.js";

/** One line of what start-up finds: a journal entry with its device and image, or a device without an entry. */
export interface PlanRow {
  volumeId: string | undefined;
  deviceId: number | undefined;
  /** For example `serving, generation 3`. */
  journal: string;
  /** The device's state, `gone`, or `?` when it cannot be told. */
  kernel: string;
  /** What is to be done; once it is, what became of it. */
  action: Decision["action"] | "none" | AdoptionEntry["action"];
  reason: string;
}

/** What start-up would do, in the order of volumes; then the devices that are none of ours. It changes nothing. */
export async function planReconciliation(contents: JournalContents, view: KernelView): Promise<PlanRow[]> {
  const entries = [...contents.entries].sort((a, b) => (a.volumeId < b.volumeId ? -1 : 1));
  const rows = await Promise.all(entries.map((entry) => planEntry(entry, view)));
  const problems = contents.problems.map(({ volumeId, reason }) => toProblemRow(volumeId, reason));
  return [...rows, ...problems, ...findForeign(contents, view).map(toForeignRow)];
}

/** The rows as lines of equal columns, a heading first. */
export function formatPlan(rows: readonly PlanRow[]): string[] {
  const heading = ["VOLUME", "DEVICE", "JOURNAL", "KERNEL", "ACTION", "REASON"];
  const cells = [heading, ...rows.map(toCells)];
  const widths = heading.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  return cells.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

function toCells({ volumeId, deviceId, journal, kernel, action, reason }: PlanRow): string[] {
  const device = deviceId === undefined ? "-" : `/dev/ublkb${deviceId}`;
  return [volumeId ?? "-", device, journal, kernel, action, reason];
}

async function planEntry(entry: JournalEntry, view: KernelView): Promise<PlanRow> {
  const decision = await decide(entry, matchDevice(entry, view)).catch(toFailure);
  const { volumeId, state, generation } = entry;
  return {
    volumeId,
    deviceId: decision.info?.deviceId ?? entry.deviceId,
    journal: `${state}, generation ${generation}`,
    kernel: decision.info?.state ?? (decision.action === "remove" ? "gone" : "?"),
    action: decision.action,
    reason: decision.reason,
  };
}

function toFailure(error: unknown): Decision {
  return { action: "report", info: undefined, reason: error instanceof Error ? error.message : String(error) };
}

function toProblemRow(volumeId: string, reason: string): PlanRow {
  return { volumeId, deviceId: undefined, journal: "unusable", kernel: "?", action: "report", reason };
}

function findForeign({ entries }: JournalContents, { devices }: KernelView): DeviceInfo[] {
  const tags = new Set(entries.map(({ ownerTag }) => ownerTag));
  return devices.filter(({ ownerTag }) => !tags.has(ownerTag));
}

function toForeignRow({ deviceId, state }: DeviceInfo): PlanRow {
  const reason = "no entry of this journal has its tag: it is somebody else's";
  return { volumeId: undefined, deviceId, journal: "none", kernel: state, action: "none", reason };
}
