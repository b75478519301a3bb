import type { Addon } from "../addon.js";
import type { EnvironmentReader } from "../diagnosis/environment.js";
import { UblkError } from "../errors.js";
import { describeMissingFloor, type Feature, floorKernel, toFeatures } from "./features.js";
import { findKnownTrouble, type KernelFinding } from "./kernel-findings.js";

/** What the running kernel offers, and what is known against it. */
export interface KernelReport {
  /** As `uname -r` prints it. */
  kernelRelease: string;
  featureMask: bigint;
  /** The features in the mask. */
  features: Feature[];
  /** Known trouble, the worst first. */
  findings: KernelFinding[];
}

/** Asks the driver and compares the kernel with the list of known trouble. */
export async function inspectKernel(addon: Addon, reader: EnvironmentReader): Promise<KernelReport> {
  const featureMask = await addon.readFeatures();
  const kernelRelease = reader.kernelRelease();
  const findings = findKnownTrouble(kernelRelease, reader.kernelVersion());
  return { kernelRelease, featureMask, features: toFeatures(featureMask), findings };
}

/** Throws on a driver below the floor and, unless `allowBroken`, on a kernel that adding a device would wedge. */
export function assertServing(report: KernelReport, operation: string, allowBroken: boolean): void {
  const { kernelRelease, featureMask, findings } = report;
  const missing = describeMissingFloor(featureMask);
  if (missing.length > 0) {
    throw new UblkError("feature_missing", `the ublk driver of kernel ${kernelRelease} lacks ${missing.join(", ")}`, {
      operation,
      step: "GET_FEATURES",
      hint: `use kernel ${floorKernel} or later`,
    });
  }
  const refused = findings.find(({ severity }) => severity === "refuse");
  if (!refused || allowBroken) return;
  throw new UblkError("kernel_broken", `kernel ${kernelRelease} ${refused.trouble}`, {
    operation,
    hint: `${refused.cure}, or take the risk with allowBrokenKernel (--allow-broken-kernel)`,
  });
}
