import type { DeviceInfo } from "../device-info.js";
import { type EnvironmentReader, isPrivileged } from "../diagnosis/environment.js";
import { UblkError } from "../errors.js";
import type { Target } from "../targets/target.js";
import { toCandidates, toDataMode } from "./data-modes.js";
import { findTargetLimits, noWishes, toWishes, type WishingOptions } from "./feature-wishes.js";
import { describeFeature } from "./features.js";
import { findBrokenFeatures } from "./kernel-findings.js";
import type { KernelReport } from "./kernel-report.js";
import {
  type FeatureReport,
  type FeatureWishes,
  type Negotiation,
  negotiate,
  reportSettled,
  settleRecovered,
} from "./negotiate.js";

/** What a device with these options would ask of this kernel, and what would become of it. */
export async function negotiateFor(
  options: WishingOptions,
  kernel: KernelReport,
  reader: EnvironmentReader,
): Promise<Negotiation> {
  const { featureMask: offered, kernelRelease } = kernel;
  // What an ordinary process asks for is judged when it asks: the driver's EPERM says what is missing.
  const privileged = !options.unprivileged || (await isPrivileged(reader));
  const broken = options.allowBrokenKernel ? new Map() : findBrokenFeatures(kernel.findings);
  const facts = { offered, kernelRelease, privileged, broken };
  const [best, ...others] = toCandidates(options.dataMode, options.target.kind).map((mode) => {
    const wishes = toWishes(options, mode);
    assertConsistent(wishes);
    return negotiate(wishes, { ...facts, targetCannot: findTargetLimits(options, mode) });
  });
  // When nothing can be had, the plainest mode is to blame for the least.
  return [best, ...others].find((one) => one?.unmet.length === 0) ?? others.at(-1) ?? (best as Negotiation);
}

/**
 * What became of each feature of a device that is taken back: it has what it was made with, and the reasons against the
 * rest are those of this kernel and target. Never rejects, for the device's I/O waits.
 */
export async function reportRecovered(
  { features, featureMask }: DeviceInfo,
  target: Target,
  kernel: KernelReport | undefined,
  reader: EnvironmentReader,
): Promise<FeatureReport[]> {
  if (kernel === undefined) return reportSettled(featureMask);
  const options = { target, recoverable: true, unprivileged: false, features: noWishes };
  const batch = features.includes("BATCH_IO") ? "on" : "off";
  const { reports } = await negotiateFor({ ...options, batch, dataMode: toDataMode(features) }, kernel, reader);
  return settleRecovered(reports, featureMask);
}

/** Throws when a requirement cannot be met, with every reason. */
export function assertMet({ unmet }: Negotiation, operation: string): void {
  if (unmet.length === 0) return;
  const reasons = unmet.map((report) => `${describeFeature(report.name)}: ${report.refusal?.explanation}`);
  throw new UblkError("feature_missing", `the device cannot have ${reasons.join("; ")}`, {
    operation,
    step: "GET_FEATURES",
    hint: hintFor(unmet),
  });
}

function assertConsistent({ required, avoided }: FeatureWishes): void {
  const contradicted = avoided.find((name) => required.includes(name));
  if (!contradicted) return;
  throw new UblkError("invalid_option", `features.avoid has ${contradicted}, which another option requires`, {
    operation: "createAndServe",
    hint: "leave out one of the two",
  });
}

function hintFor(unmet: readonly FeatureReport[]): string {
  const tooOld = unmet.some(({ refusal }) => refusal?.cause === "kernel-too-old");
  return tooOld ? "use a newer kernel, or do without" : "do without, or remove the reason";
}
