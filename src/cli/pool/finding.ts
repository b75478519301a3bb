/** Something in or around a pool that is not as it should be. */
export interface Finding {
  kind: FindingKind;
  /** Undefined when it is of the node, and of no pool. */
  pool?: string;
  /** Of a volume, a snapshot or a group. */
  id?: string;
  message: string;
  /** `note`: nothing is wrong yet, or a running driver may be in the middle of it. */
  state: "problem" | "note" | "repaired" | "removed";
  /** What `check` could do about it; undefined when that takes a person. */
  remedy?: Remedy;
}

/** `file` and `folder` hold no data; the others do, and are removed by their id alone. */
export type Remedy =
  | { kind: "file"; path: string }
  | { kind: "folder" | "data"; of: "volume" | "snapshot"; id: string };

export type FindingKind =
  | "device-without-volume"
  | "empty-folder"
  | "group-incomplete"
  | "group-unfinished"
  | "growth-unfinished"
  | "image-lost"
  | "image-unfinished"
  | "image-without-record"
  | "journal-unreadable"
  | "mount-without-device"
  | "pool-unavailable"
  | "record-unusable"
  | "snapshot-without-group"
  | "stranger"
  | "temporary-file";

/** What a running driver makes and removes all the time, so that it need not be left over. */
const passingKinds: readonly FindingKind[] = [
  "device-without-volume",
  "empty-folder",
  "group-incomplete",
  "group-unfinished",
  "growth-unfinished",
  "image-unfinished",
  "mount-without-device",
  "temporary-file",
];

/** As it counts while a driver runs. */
export function besideDriver(finding: Finding): Finding {
  return passingKinds.includes(finding.kind) ? { ...finding, state: "note" } : finding;
}

/** Whether two looks found one and the same thing. */
export function isSame(one: Finding, other: Finding): boolean {
  return (["kind", "pool", "id", "message"] as const).every((key) => one[key] === other[key]);
}
