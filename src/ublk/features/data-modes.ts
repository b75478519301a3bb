import type { Target } from "../options.js";
import type { FeatureName } from "./features.js";

/** How the bytes of a request get from its user to the target and back. docs/data-modes.md compares them. */
export type DataMode = "copy" | "get-data" | "user-copy" | "zero-copy" | "auto-zero-copy";

/** What a mode asks of the kernel and of the target. */
export interface DataModeNeeds {
  features: readonly FeatureName[];
  /** Kinds of target that can serve it; absent: all. */
  targets?: readonly Target["kind"][];
}

export const dataModes: Readonly<Record<DataMode, DataModeNeeds>> = {
  copy: { features: [] },
  "get-data": { features: ["NEED_GET_DATA"] },
  "user-copy": { features: ["USER_COPY"] },
  // A target that does no I/O of its own on the pages would leave in them what the kernel last had there.
  "zero-copy": { features: ["SUPPORT_ZERO_COPY"], targets: ["memory", "file"] },
  "auto-zero-copy": { features: ["SUPPORT_ZERO_COPY", "AUTO_BUF_REG"], targets: ["memory", "file"] },
};

export const dataModeNames = Object.keys(dataModes) as DataMode[];

/** What `auto` stands for, best first; the last one works everywhere. */
const preferredModes: Readonly<Record<Target["kind"], readonly DataMode[]>> = {
  null: ["copy"],
  memory: ["user-copy", "copy"],
  file: ["auto-zero-copy", "copy"],
  // Both look at the bytes, or may have to.
  fault: ["copy"],
  js: ["copy"],
};

/** The modes to try for an option, best first. */
export function toCandidates(wanted: DataMode | "auto", kind: Target["kind"]): readonly DataMode[] {
  return wanted === "auto" ? preferredModes[kind] : [wanted];
}

/** The mode of a device that was granted these features. */
export function toDataMode(features: readonly string[]): DataMode {
  const mode = dataModeNames.findLast((name) => dataModes[name].features.every((one) => features.includes(one)));
  return mode ?? "copy";
}

/** The features of a mode that this kind of target cannot be served with, each with the reason. */
export function findModeLimits(mode: DataMode, kind: Target["kind"]): Map<FeatureName, string> {
  const { features, targets } = dataModes[mode];
  if (targets === undefined || targets.includes(kind)) return new Map();
  const reason = `a ${kind} target cannot be served in the data mode ${mode}, only ${targets.join(" and ")}`;
  return new Map(features.map((name) => [name, reason]));
}
