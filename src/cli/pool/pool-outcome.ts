import type { Filesystems } from "../../node/filesystems/filesystems.js";
import type { MountEntry } from "../../system/mountinfo.js";
import type { PoolTools } from "./found-pool.js";

/** What pool commands need of the machine. */
export interface PoolParts extends PoolTools {
  readMounts: () => Promise<MountEntry[]>;
  /** Says what an image holds. */
  filesystems: Pick<Filesystems, "probe">;
  /** Where sysfs is mounted. */
  sysfs: string;
  /** Ends the work, which is then undone. */
  signal: AbortSignal;
}

/** The end of a pool command: the same for programs and for people. */
export interface PoolOutcome {
  exitCode: 0 | 1;
  json: unknown;
  text: string;
}
