import { featureRules } from "./feature-rules.js";
import { type FeatureName, knownFeatures, toFeatures, toMask } from "./features.js";

/** `none`: nobody asked; the driver may set the feature all the same. */
export type FeatureWish = "required" | "preferred" | "avoided" | "none";

/** Why a device does not have a feature. */
export type FeatureRefusalCause =
  | "kernel-too-old"
  /** On the list of kernels where it is known to be broken. */
  | "known-broken"
  | "needs-privilege"
  /** Another feature, or a right of this process, rules it out; or it needs one that is not there. */
  | "excluded"
  | "target-cannot"
  /** This library has no code that serves it. */
  | "engine-cannot"
  /** Offered and asked for, and dropped by the driver without a reason. */
  | "not-granted";

export interface FeatureRefusal {
  cause: FeatureRefusalCause;
  /** The cause in words, for a message. */
  explanation: string;
}

/** What became of one feature. */
export interface FeatureReport {
  name: string;
  firstKernel: string;
  wish: FeatureWish;
  granted: boolean;
  /** Present for every feature that could not be had, wished for or not. */
  refusal?: FeatureRefusal;
}

/** What a device is to have. Earlier names win where two preferences exclude each other. */
export interface FeatureWishes {
  required: readonly FeatureName[];
  preferred: readonly FeatureName[];
  avoided: readonly FeatureName[];
}

/** What decides about wishes. */
export interface FeatureFacts {
  /** The mask of GET_FEATURES. */
  offered: bigint;
  kernelRelease: string;
  /** Whether this process has CAP_SYS_ADMIN. */
  privileged: boolean;
  /** Features that this kernel has but does badly, with the trouble. */
  broken: ReadonlyMap<string, string>;
  /** Features that the target rules out, with the reason. */
  targetCannot: ReadonlyMap<string, string>;
}

/** What to ask ADD_DEV for, and what has been decided before. */
export interface Negotiation {
  request: bigint;
  /** `granted` is what is hoped for until {@link settle} has the driver's answer. */
  reports: FeatureReport[];
  /** Requirements that cannot be met. */
  unmet: FeatureReport[];
}

/** Decides what to ask the driver for: every requirement, and the preferences that nothing stands against. */
export function negotiate(wishes: FeatureWishes, facts: FeatureFacts): Negotiation {
  const choice = new FeatureChoice(wishes, facts);
  const reports = knownFeatures.map(({ name, firstKernel }) => choice.report(name, firstKernel));
  return {
    request: toMask(...choice.chosen),
    reports,
    unmet: reports.filter(({ wish, refusal }) => wish === "required" && refusal),
  };
}

/** The reports with the driver's answer. It drops what it does not like without an error: this names every loss. */
export function settle(reports: readonly FeatureReport[], request: bigint, granted: bigint): FeatureReport[] {
  return reports.map((report) => {
    if ((toMask(report.name) & granted) !== 0n) return { ...report, granted: true };
    const lost = (toMask(report.name) & request) !== 0n;
    return { ...report, granted: false, ...(lost && { refusal: dropped }) };
  });
}

/**
 * The reports with the features of a device that was made before, by this process or another. What its maker asked for by
 * name is not known any more, so the wishes are those of the library.
 */
export function settleRecovered(reports: readonly FeatureReport[], granted: bigint): FeatureReport[] {
  return reports.map(({ refusal, ...report }) => {
    if ((toMask(report.name) & granted) !== 0n) return { ...report, granted: true };
    const isWished = report.wish === "required" || report.wish === "preferred";
    const reason = refusal ?? (isWished ? notMadeWith : undefined);
    return { ...report, granted: false, ...(reason && { refusal: reason }) };
  });
}

/** The reports of such a device where the kernel does not say what it offers. */
export function reportSettled(granted: bigint): FeatureReport[] {
  const grantedNames = toFeatures(granted).map(({ name }) => name);
  return knownFeatures.map(({ name, firstKernel }) => {
    return { name, firstKernel, wish: "none", granted: grantedNames.includes(name) };
  });
}

const dropped: FeatureRefusal = { cause: "not-granted", explanation: "the driver dropped it from the request" };

const notMadeWith: FeatureRefusal = {
  cause: "not-granted",
  explanation: "the device was made without it, and keeps what it was made with",
};

class FeatureChoice {
  readonly chosen = new Set<FeatureName>();
  private readonly refusals = new Map<FeatureName, FeatureRefusal>();
  private readonly wished: ReadonlySet<string>;

  constructor(
    private readonly wishes: FeatureWishes,
    private readonly facts: FeatureFacts,
  ) {
    const order = [...wishes.required, ...wishes.preferred].filter((name) => !wishes.avoided.includes(name));
    this.wished = new Set(order);
    for (const name of order) this.tryToChoose(name);
  }

  report(name: FeatureName, firstKernel: string): FeatureReport {
    const refusal = this.refusals.get(name) ?? this.findFact(name);
    const granted = this.chosen.has(name) || (!refusal && featureRules[name].forced === true && !this.isExcluded(name));
    return { name, firstKernel, wish: this.wishFor(name), granted, ...(refusal && { refusal }) };
  }

  private tryToChoose(name: FeatureName): boolean {
    const refusal = this.findFact(name) ?? this.findConflict(name);
    if (refusal) this.refusals.set(name, refusal);
    else this.chosen.add(name);
    return !refusal;
  }

  private wishFor(name: FeatureName): FeatureWish {
    if (this.wishes.avoided.includes(name)) return "avoided";
    if (this.wishes.required.includes(name)) return "required";
    return this.wishes.preferred.includes(name) ? "preferred" : "none";
  }

  /** What stands against the feature whatever else is asked for. */
  private findFact(name: FeatureName): FeatureRefusal | undefined {
    const { offered, kernelRelease, privileged, broken, targetCannot } = this.facts;
    const rule = featureRules[name];
    if ((offered & toMask(name)) === 0n) {
      return { cause: "kernel-too-old", explanation: `the driver of kernel ${kernelRelease} does not know it` };
    }
    const trouble = broken.get(name);
    if (trouble !== undefined) return { cause: "known-broken", explanation: trouble };
    if (rule.unserved) return { cause: "engine-cannot", explanation: "this engine does not serve it" };
    if (rule.privilegedOnly && !privileged) {
      return { cause: "needs-privilege", explanation: "the driver gives it to processes with CAP_SYS_ADMIN only" };
    }
    if (name === "UNPRIVILEGED_DEV" && privileged) {
      return { cause: "excluded", explanation: "the driver drops it for a process with CAP_SYS_ADMIN" };
    }
    const obstacle = targetCannot.get(name);
    return obstacle === undefined ? undefined : { cause: "target-cannot", explanation: obstacle };
  }

  private findConflict(name: FeatureName): FeatureRefusal | undefined {
    const { needsOneOf } = featureRules[name];
    if (needsOneOf && !needsOneOf.some((need) => this.isHad(need))) {
      return { cause: "excluded", explanation: `it needs ${needsOneOf.join(" or ")}, which the device does not have` };
    }
    const rival = this.findRival(name);
    return rival && { cause: "excluded", explanation: `${rival} excludes it` };
  }

  /** A need that is wished for and comes later in the order is decided now. */
  private isHad(need: FeatureName): boolean {
    return this.chosen.has(need) || (this.wished.has(need) && !this.refusals.has(need) && this.tryToChoose(need));
  }

  private isExcluded(name: FeatureName): boolean {
    return this.findRival(name) !== undefined;
  }

  private findRival(name: FeatureName): FeatureName | undefined {
    const excluding = featureRules[name].excludedBy?.find((other) => this.chosen.has(other));
    return excluding ?? [...this.chosen].find((other) => excludes(name, other));
  }
}

/** Whether choosing `name` would take away `other`, which was chosen before. */
function excludes(name: FeatureName, other: FeatureName): boolean {
  return featureRules[other].forced !== true && (featureRules[other].excludedBy?.includes(name) ?? false);
}
