import type { FeatureName } from "./features.js";
import type { KernelLineage } from "./kernel-version.js";

/** Which kernels an entry is about. Bounds are releases as `uname -r` prints them upstream, and inclusive. */
export type KernelRange =
  | { lineage: Exclude<KernelLineage, "ubuntu">; from: string; to: string }
  | { lineage: "ubuntu"; base: string; variants?: readonly string[]; builds?: readonly [number, number] }
  /** Every kernel whose version comes before this one, whoever built it. */
  | { before: string; from?: string };

/** A kernel that is known to have trouble with ublk. */
export interface KnownKernel {
  /** Stable, for logs and tests. */
  id: string;
  ranges: readonly KernelRange[];
  /** `refuse` keeps devices from being made; `warn` is worth a line in the log; `note` is for the report alone. */
  severity: "refuse" | "warn" | "note";
  /** What happens, in words that end a sentence beginning with the kernel. */
  trouble: string;
  cure: string;
  /** The kernel is fine without these: a preference for one of them is given up, a requirement refused. */
  features?: readonly FeatureName[];
}

const ubuntuGeneric = ["generic", "generic-64k", "lowlatency", "lowlatency-64k", "realtime", "oem"];

/** As reported by other projects and by the kernel's own fixes; docs/kernels.md lists them for users. */
export const knownKernels: readonly KnownKernel[] = [
  {
    id: "add-dev-null-pointer",
    severity: "refuse",
    ranges: [
      { lineage: "ubuntu", base: "6.17.0", variants: ubuntuGeneric, builds: [24, 40] },
      { lineage: "ubuntu", base: "6.17.0", variants: ["aws"], builds: [1019, 1019] },
      { lineage: "ubuntu", base: "6.17.0", variants: ["azure"], builds: [1014, 1020] },
      { lineage: "stable", from: "6.18.4", to: "6.18.5" },
    ],
    trouble: "follows a null pointer when a device is added, and the machine hangs",
    cure: "install a later kernel of the same series",
  },
  {
    id: "lost-control-command",
    severity: "warn",
    ranges: [
      { lineage: "stable", from: "6.18.40", to: "6.18.40" },
      { lineage: "stable", from: "7.0.0", to: "7.0.0" },
      { lineage: "stable", from: "7.0.14", to: "7.0.14" },
      { lineage: "ubuntu", base: "7.0.0", builds: [28, 28] },
    ],
    trouble: "may lose a control command, so that adding or starting a device ends with a timeout",
    cure: "try again, or use another kernel",
  },
  {
    id: "panic-on-close",
    severity: "warn",
    ranges: [{ lineage: "ubuntu", base: "6.8.0" }],
    trouble: "may panic when a server closes its devices under load (CVE-2025-37906 is not fixed in this series)",
    cure: "use the HWE kernel",
  },
  {
    id: "recovery-fixes-missing",
    severity: "note",
    ranges: [{ before: "7.1" }],
    trouble: "may lack the fixes 0842186d2c4e, f7700a4415af and 845db023a8ae to user recovery",
    cure: "try recovery under load before you rely on it",
  },
  {
    id: "late-request-lost",
    severity: "note",
    // Seen on 6.12.117. The bound is where the driver's handling of a server's end is said to have changed.
    ranges: [{ before: "6.15" }],
    trouble: "may wait for ever for a request that comes in the moment in which a server ends",
    cure: "nothing for planned ends: devices of this library stall their load first; after a kill it is unlikely",
  },
  {
    id: "resize-before-start",
    severity: "note",
    ranges: [{ from: "6.16", before: "7.0.0-rc4" }],
    trouble: "follows a null pointer when a device is resized before it was started (CVE-2026-43364)",
    cure: "nothing: devices of this library are resized only while they are live",
  },
  {
    id: "process-id-namespace",
    severity: "note",
    ranges: [{ from: "6.16.1", before: "6.18.8" }],
    trouble: "refuses to start a device for a server in a PID namespace of its own",
    cure: "give the container the host's PID namespace (hostPID: true)",
  },
  {
    id: "cut-write-zeroes",
    severity: "note",
    ranges: [{ before: "6.11" }],
    trouble: "cuts a WRITE_ZEROES of 4 GiB or more short",
    cure: "nothing: devices of this library take 2 GiB at most in one request",
  },
  {
    id: "provided-buffers",
    severity: "note",
    ranges: [
      { lineage: "ubuntu", base: "6.8.0", builds: [138, 138] },
      { lineage: "ubuntu", base: "6.8.0", builds: [146, 146] },
    ],
    trouble: "has broken provided-buffer rings in io_uring",
    cure: "nothing: only batches of commands need them, which this kernel does not have",
    features: ["BATCH_IO"],
  },
  {
    id: "zero-copy-false-report",
    severity: "note",
    ranges: [{ lineage: "stable", from: "6.19", to: "7.2.99" }],
    trouble: "may log a false UBSAN report for zero copy where it is built with UBSAN (Fedora is)",
    cure: "nothing",
  },
  {
    id: "batch-copy-without-server",
    severity: "note",
    // Seen on 7.3.4; no fix is known. The bound is the next kernel to look at.
    ranges: [{ from: "7.0.0-rc1", before: "7.4.0-rc1" }],
    trouble:
      "may write to the memory of another process when a server that takes its commands in batches ends under load",
    cure: "nothing: batches are not used there",
    features: ["BATCH_IO"],
  },
  {
    id: "batch-quiesce",
    severity: "note",
    ranges: [
      { from: "7.0.0-rc1", before: "7.2.7" },
      { from: "7.3.0-rc1", before: "7.3.0-rc3" },
    ],
    trouble: "cannot quiesce a device that takes its commands in batches",
    cure: "nothing: batches are not used there",
    features: ["BATCH_IO"],
  },
];
