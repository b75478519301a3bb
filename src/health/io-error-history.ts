import type { BlockDeviceEvent, BlockDevices } from "../engine/block-devices.js";
import type { VolumeFinding } from "./finding.js";

const outOfSpaceErrnos = ["ENOSPC", "EDQUOT"];

/** How long an error is told after the last one of its kind: nothing says that the next request would succeed. */
const rememberedMs = 10 * 60_000;

/** What requests of devices have failed with lately, as far as their engine knows. It forgets with the device. */
export class IoErrorHistory {
  private readonly lastErrors = new Map<string, Map<string, { atMs: number; operation: string }>>();

  constructor(
    blockDevices: Pick<BlockDevices, "onEvent">,
    private readonly now: () => number = Date.now,
  ) {
    blockDevices.onEvent((event) => this.note(event));
  }

  /** Volumes that a request of has failed, however long ago. */
  volumeIds(): string[] {
    return [...this.lastErrors.keys()];
  }

  /** What is wrong with a volume by its last errors. */
  findings(volumeId: string): VolumeFinding[] {
    const recent = this.recent(volumeId);
    const full = recent.find(([errnoName]) => outOfSpaceErrnos.includes(errnoName));
    const failed = recent.find(([errnoName]) => !outOfSpaceErrnos.includes(errnoName));
    const findings: VolumeFinding[] = [];
    if (full !== undefined) {
      const message = `${describe(full)}: the pool is full, so free some of it or give it more`;
      findings.push({ status: "degraded", reason: "PoolOutOfSpace", message });
    }
    if (failed !== undefined) {
      const message = `${describe(failed)}: look for errors of the pool's disk in the kernel log`;
      findings.push({ status: "degraded", reason: "ImageIoErrors", message });
    }
    return findings;
  }

  private recent(volumeId: string): Array<[string, { atMs: number; operation: string }]> {
    const since = this.now() - rememberedMs;
    return [...(this.lastErrors.get(volumeId) ?? [])].filter(([, { atMs }]) => atMs > since);
  }

  private note(event: BlockDeviceEvent): void {
    if (event.kind === "detached") this.lastErrors.delete(event.volumeId);
    if (event.kind !== "io-error") return;
    const errors = this.lastErrors.get(event.volumeId) ?? new Map();
    errors.set(event.errnoName, { atMs: event.atMs ?? this.now(), operation: event.operation });
    this.lastErrors.set(event.volumeId, errors);
  }
}

function describe([errnoName, { operation, atMs }]: [string, { atMs: number; operation: string }]): string {
  return `a ${operation} failed with ${errnoName} at ${new Date(atMs).toISOString()}`;
}
