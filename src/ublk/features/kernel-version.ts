/** Who maintains a kernel, as far as it matters for what its number says. */
export type KernelLineage =
  /** Numbered and patched as kernel.org's: mainline, Debian, Fedora, Arch, openSUSE Tumbleweed and the like. */
  | "stable"
  /** Keeps the base version and counts builds of its own: `6.17.0-24-generic`. */
  | "ubuntu"
  /** Backports freely below an old number: RHEL and its kin, SUSE's enterprise kernels. */
  | "backports";

/** What uname tells of a kernel. */
export interface KernelIdentity {
  lineage: KernelLineage;
  /** Major, minor and patch. Ubuntu's patch is always 0. */
  numbers: readonly [number, number, number];
  /** The release candidate's number; undefined for a release. */
  candidate: number | undefined;
  /** Ubuntu's count of builds, 24 in `6.17.0-24-generic`. */
  build: number | undefined;
  /** Ubuntu's build variant, `generic`, `aws`, `azure` ... */
  variant: string | undefined;
}

/** Reads `uname -r` and `uname -v`; undefined when the release does not begin with a version. */
export function parseKernel(release: string, version: string): KernelIdentity | undefined {
  const found = /^(\d+)\.(\d+)(?:\.(\d+))?/.exec(release);
  if (!found) return undefined;
  const numbers = toNumbers(findDebianVersion(release, version) ?? found);
  const candidate = findCandidate(release);
  const ubuntu = parseUbuntu(release);
  if (ubuntu) return { lineage: "ubuntu", numbers, candidate, ...ubuntu };
  const lineage = hasBackports(release) ? "backports" : "stable";
  return { lineage, numbers, candidate, build: undefined, variant: undefined };
}

/** Negative when `a` is the earlier one. A release candidate comes before its release. */
export function compareVersions(a: KernelIdentity, b: KernelIdentity): number {
  const position = a.numbers.findIndex((number, i) => number !== b.numbers[i]);
  if (position >= 0) return (a.numbers[position] as number) - (b.numbers[position] as number);
  return (a.candidate ?? Number.POSITIVE_INFINITY) - (b.candidate ?? Number.POSITIVE_INFINITY) || 0;
}

/** Before 6.12 Debian's release carried the first number of its series only: `6.1.0-35-amd64` is 6.1.137. */
function findDebianVersion(release: string, version: string): RegExpExecArray | null {
  return /^\d+\.\d+\.0-(\d+\.)?\d+(-cloud|-rt)?-(amd64|arm64)/.test(release)
    ? /Debian (\d+)\.(\d+)\.(\d+)/.exec(version)
    : null;
}

/** `6.18.4-061804-generic` is a mainline build by Ubuntu: its six digits are no count of builds. */
function parseUbuntu(release: string): { build: number; variant: string } | undefined {
  const found = /^\d+\.\d+\.0-(\d{1,4})-([a-z][a-z0-9-]*)$/.exec(release);
  if (!found?.[2] || /^(amd64|arm64|cloud|rt|default|arch)/.test(found[2])) return undefined;
  return { build: Number(found[1]), variant: found[2] };
}

function hasBackports(release: string): boolean {
  return /\.el\d|el\d+uek|\.amzn|-microsoft-|^\d+\.\d+\.0-\d{6}[.\d]*-default/.test(release);
}

function findCandidate(release: string): number | undefined {
  const found = /[-~](?:\d{6})?rc(\d+)/.exec(release)?.[1];
  return found === undefined ? undefined : Number(found);
}

function toNumbers([, major, minor, patch]: RegExpExecArray): [number, number, number] {
  return [Number(major), Number(minor), Number(patch ?? 0)];
}
