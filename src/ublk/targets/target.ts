import type { NativeTarget } from "../addon.js";
import type { Backend } from "./backend.js";
import { toNativeBackend } from "./backend-server.js";
import { type FaultRule, toNativeFaultRules } from "./fault-rules.js";

/** A target of native code that stands on its own. */
export type PlainTarget =
  /** Reads zeros, forgets writes: for measuring the path itself. */
  | { kind: "null" }
  /** Memory of this process, or with `path` a file on a tmpfs or hugetlbfs, which outlives the process. */
  | { kind: "memory"; path?: string }
  /** A file, or a block device. */
  | { kind: "file"; path: string };

/** Where the bytes of a device live. */
export type Target =
  | PlainTarget
  /** Another target, with faults: for tests. The same `seed` (default 1) makes the same choices. */
  | { kind: "fault"; over: PlainTarget; rules: readonly FaultRule[]; seed?: number }
  /**
   * A backend written in JavaScript; docs/targets.md says what it costs. `onError` hears of every error that a method of
   * it throws or rejects with, of which the device's user and the `io-error` event learn the errno only.
   */
  | { kind: "js"; backend: Backend; onError?: (error: unknown) => void };

export type TargetKind = Target["kind"];

/** The file or block device that holds the bytes; undefined where there is none. */
export function findImagePath(target: Target): string | undefined {
  if (target.kind === "fault") return findImagePath(target.over);
  return target.kind === "memory" || target.kind === "file" ? target.path : undefined;
}

/** Whether the bytes of the target go with its process. */
export function isAnonymousMemory(target: Target): boolean {
  if (target.kind === "fault") return isAnonymousMemory(target.over);
  return target.kind === "memory" && target.path === undefined;
}

/** What native code opens. */
export function toNativeTarget(target: Target, direct: boolean): NativeTarget {
  switch (target.kind) {
    case "file":
      return { ...target, direct };
    case "js":
      return toNativeBackend(target.backend, target.onError);
    case "fault": {
      const { over, rules, seed = 1 } = target;
      const native = over.kind === "file" ? { ...over, direct } : over;
      return { kind: "fault", over: native, rules: toNativeFaultRules(rules), seed };
    }
    default:
      return target;
  }
}
