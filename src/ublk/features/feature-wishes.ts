import { UblkError } from "../errors.js";
import { showValue } from "../show-value.js";
import { isAnonymousMemory, type Target } from "../targets/target.js";
import { type DataMode, dataModes, findModeLimits } from "./data-modes.js";
import { featureRules } from "./feature-rules.js";
import { type FeatureName, isFeatureName } from "./features.js";
import type { FeatureWishes } from "./negotiate.js";

/** Features by name, for what no option of its own covers. */
export interface FeatureOptions {
  /** Fail, naming feature and first kernel, where it cannot be had. */
  require?: readonly FeatureName[];
  /** Ask where it can be had; the device's `featureReport` says what became of it. */
  prefer?: readonly FeatureName[];
  /** Do not ask for it, although the library would. */
  avoid?: readonly FeatureName[];
}

/** What of a device's options decides about its features. */
export interface WishingOptions {
  target: Target;
  recoverable: boolean;
  unprivileged: boolean;
  dataMode: DataMode | "auto";
  batch: "auto" | "on" | "off";
  /** Ask for features that this kernel is known to do badly. */
  allowBrokenKernel?: boolean;
  features: FeatureWishes;
}

/** Nothing by name. */
export const noWishes: FeatureWishes = { required: [], preferred: [], avoided: [] };
const useful: readonly FeatureName[] = ["UPDATE_SIZE", "NO_AUTO_PART_SCAN", "SAFE_STOP_DEV"];

/** Everything the device is to have: what its options stand for, what the library likes, and what was named. */
export function toWishes(options: WishingOptions, dataMode: DataMode = "copy"): FeatureWishes {
  const { recoverable, unprivileged, features } = options;
  const required: FeatureName[] = ["CMD_IOCTL_ENCODE", ...dataModes[dataMode].features];
  if (recoverable) required.push("USER_RECOVERY", "USER_RECOVERY_REISSUE");
  if (options.batch === "on") required.push("BATCH_IO");
  if (unprivileged) required.push("UNPRIVILEGED_DEV");
  return {
    required: [...required, ...features.required],
    preferred: [...features.preferred, ...(recoverable ? [...useful, "QUIESCE" as const] : useful)],
    avoided: features.avoided,
  };
}

/** What the target rules out, with the reason. */
export function findTargetLimits(
  { target }: Pick<WishingOptions, "target">,
  dataMode: DataMode = "copy",
): Map<string, string> {
  const limits = new Map<string, string>(findModeLimits(dataMode, target.kind));
  if (isAnonymousMemory(target)) {
    limits.set("USER_RECOVERY", "a memory device without a file loses its bytes with its process");
  }
  return limits;
}

/** Checks the names of a `features` option; the first thing wrong is an `invalid_option`. */
export function validateFeatureOptions(options: unknown, operation: string): FeatureWishes {
  if (options === undefined) return noWishes;
  const fail = (message: string): never => {
    throw new UblkError("invalid_option", message, { operation });
  };
  const { require = [], prefer = [], avoid = [], ...others } = toObject(options, fail);
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) fail(`features has the unknown list "${unknown}"; expected require, prefer and avoid`);
  const lists = { require, prefer, avoid };
  for (const [list, names] of Object.entries(lists)) assertNames(list, names, fail);
  assertDisjoint(lists as Record<string, FeatureName[]>, fail);
  return { required: require, preferred: prefer, avoided: avoid } as FeatureWishes;
}

type Fail = (message: string) => never;

function toObject(options: unknown, fail: Fail): Record<string, unknown> {
  if (typeof options === "object" && options !== null) return options as Record<string, unknown>;
  return fail(`features is ${showValue(options)}; expected an object with require, prefer or avoid`);
}

function assertNames(list: string, names: unknown, fail: Fail): asserts names is FeatureName[] {
  if (!Array.isArray(names)) fail(`features.${list} is ${showValue(names)}; expected an array of names`);
  for (const name of names as unknown[]) {
    if (!isFeatureName(name)) {
      fail(`features.${list} has ${showValue(name)}; expected one of ${Object.keys(featureRules).join(", ")}`);
    }
    const { option, forced } = featureRules[name as FeatureName];
    if (option) fail(`features.${list} has ${name}; choose it with the option ${option}`);
    if (forced && list === "avoid") fail(`features.avoid has ${name}, which the driver sets whether asked or not`);
  }
}

function assertDisjoint(lists: Record<string, FeatureName[]>, fail: Fail): void {
  const names = Object.values(lists).flat();
  const repeated = names.find((name, position) => names.indexOf(name) !== position);
  if (repeated) fail(`features names ${repeated} twice; expected it in one of require, prefer and avoid`);
}
