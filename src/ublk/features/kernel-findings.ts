import { compareVersions, type KernelIdentity, parseKernel } from "./kernel-version.js";
import { type KernelRange, type KnownKernel, knownKernels } from "./known-kernels.js";

/** One known trouble of the running kernel. */
export type KernelFinding = Omit<KnownKernel, "ranges">;

/** What is known of the kernel with this `uname -r` and `uname -v`, the worst first. */
export function findKnownTrouble(release: string, version: string, known = knownKernels): KernelFinding[] {
  const kernel = parseKernel(release, version);
  if (!kernel) return [];
  return known
    .filter(({ ranges }) => ranges.some((range) => isWithin(kernel, range)))
    .map(({ ranges: _ranges, ...finding }) => finding)
    .sort((a, b) => severities.indexOf(a.severity) - severities.indexOf(b.severity));
}

/** The features that are better left alone on this kernel, with the trouble. */
export function findBrokenFeatures(findings: readonly KernelFinding[]): Map<string, string> {
  return new Map(findings.flatMap(({ features = [], trouble }) => features.map((name) => [name, `it ${trouble}`])));
}

const severities: readonly KernelFinding["severity"][] = ["refuse", "warn", "note"];

function isWithin(kernel: KernelIdentity, range: KernelRange): boolean {
  if ("before" in range) return isSince(kernel, range.from) && compareVersions(kernel, toBound(range.before)) < 0;
  if (kernel.lineage !== range.lineage) return false;
  if (range.lineage !== "ubuntu") return isSince(kernel, range.from) && isUpTo(kernel, range.to);
  const { base, variants, builds } = range;
  if (compareVersions(kernel, toBound(base)) !== 0) return false;
  if (variants && !variants.includes(kernel.variant ?? "")) return false;
  return !builds || isBetween(kernel.build ?? -1, builds);
}

function isSince(kernel: KernelIdentity, bound: string | undefined): boolean {
  return bound === undefined || compareVersions(kernel, toBound(bound)) >= 0;
}

function isUpTo(kernel: KernelIdentity, bound: string): boolean {
  return compareVersions(kernel, toBound(bound)) <= 0;
}

function isBetween(value: number, [from, to]: readonly [number, number]): boolean {
  return value >= from && value <= to;
}

function toBound(release: string): KernelIdentity {
  const bound = parseKernel(release, "");
  if (!bound) throw new TypeError(`"${release}" in the list of known kernels is no kernel release`);
  return bound;
}
