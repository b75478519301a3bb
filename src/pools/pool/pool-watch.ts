import { DriverError, toMessage } from "../../errors.js";
import type { Logger } from "../../log.js";
import type { Watermarks } from "../capacity/pool-settings.js";
import type { Pool } from "./pool.js";
import { findPoolFault } from "./pool-presence.js";

/**
 * How full a pool is, by its watermarks. A pool that has room for all it has promised is `normal` however full it is: thick
 * volumes take their bytes at once, and need no more.
 */
export type PoolLevel = (typeof poolLevels)[number];

const poolLevels = ["normal", "warning", "critical"] as const;

export interface PoolState {
  pool: string;
  level: PoolLevel;
  sizeBytes: bigint;
  freeBytes: bigint;
  /** Rounded to a tenth. */
  usedPercent: number;
  /** What the ledger has booked. */
  bookedBytes: bigint;
  /** What images may yet take of the free bytes, with those of other pools on the same file system. */
  demandBytes: bigint;
}

/** What is known of the fill of pools. */
export interface PoolWatch {
  /** Every pool as it was at the last look; empty before the first one. */
  readStates(): PoolState[];
}

const everyMs = 10_000;
/** A pool at a watermark would otherwise pass it with every block that is written and trimmed. */
const calmPercent = 2;

/**
 * Looks at the pools every few seconds, and whenever it is told that one may have filled up. The log is where it is read
 * when a pool passed a watermark, in either direction: a warning on the way up, and word on the way down.
 */
export class PollingPoolWatch implements PoolWatch {
  /** Why a pool could not be read at the last look. */
  private readonly faults = new Map<string, string>();
  private readonly states = new Map<string, PoolState>();
  private readonly logger: Logger;
  private timer: NodeJS.Timeout | undefined;
  private lastLook: Promise<void> = Promise.resolve();
  /** The look that has not begun yet, when somebody waits for one. */
  private nextLook: Promise<void> | undefined;

  constructor(
    private readonly pools: readonly Pool[],
    logger: Logger,
  ) {
    this.logger = logger.child({ component: "pool-watch" });
  }

  readStates(): PoolState[] {
    return [...this.states.values()];
  }

  /** Whether the last look at a pool has succeeded. What is known of one where it has not is old. */
  isReadable(pool: string): boolean {
    return this.states.has(pool) && !this.faults.has(pool);
  }

  /** Looks now and from then on. Does not keep the process alive. */
  async start(): Promise<void> {
    await this.check();
    this.timer = setInterval(() => void this.check(), everyMs).unref();
  }

  stop(): void {
    clearInterval(this.timer);
  }

  /**
   * Looks at every pool now. One that cannot be read keeps its last state. Whoever asks during a look may know of something
   * that it does not see, and waits for the next one; all of them share it, for a full pool fails thousands of requests.
   */
  check(): Promise<void> {
    if (this.nextLook !== undefined) return this.nextLook;
    const look = this.lastLook.then(() => {
      this.nextLook = undefined;
      return this.checkAll();
    });
    this.nextLook = look;
    this.lastLook = look;
    return look;
  }

  /** Never rejects. */
  private async checkAll(): Promise<void> {
    for (const pool of this.pools) {
      await this.checkPool(pool).then(
        () => this.faults.delete(pool.name),
        (error: unknown) => this.tellFault(pool, error),
      );
    }
  }

  /** Once: looks follow each other closely while requests fail. */
  private tellFault({ name }: Pool, error: unknown): void {
    const fault = toMessage(error);
    if (this.faults.get(name) === fault) return;
    this.faults.set(name, fault);
    this.logger.error({ pool: name, err: error }, `pool cannot be read: ${fault}`);
  }

  private async checkPool(pool: Pool): Promise<void> {
    // What is mounted below a pool that is gone has room, but not for its volumes.
    const fault = await findPoolFault(pool);
    if (fault !== undefined) throw new DriverError("refused", fault);
    // Before what is free: what a volume takes in between is then missing twice, not never.
    const demandBytes = await pool.readDemandBytes();
    const { sizeBytes, freeBytes } = await pool.readSpace();
    const previous = this.states.get(pool.name)?.level ?? "normal";
    const usedPercent = toPercent(sizeBytes - freeBytes, sizeBytes);
    const isShort = isShortOf(demandBytes, freeBytes, previous);
    const level = isShort ? chooseLevel(usedPercent, pool.settings.watermarks, previous) : "normal";
    const bookedBytes = pool.ledger.reservedBytes;
    const state = { pool: pool.name, level, sizeBytes, freeBytes, usedPercent, bookedBytes, demandBytes };
    this.states.set(pool.name, state);
    if (level !== previous) this.announce(state, previous);
  }

  private announce(state: PoolState, previous: PoolLevel): void {
    const { pool, level, usedPercent, freeBytes, demandBytes } = state;
    const bytes = { freeBytes: freeBytes.toString(), demandBytes: demandBytes.toString() };
    // `level` is the log's own word for how grave a line is.
    const details = { pool, poolLevel: level, previousPoolLevel: previous, usedPercent, ...bytes };
    if (isAbove(level, previous)) this.logger.warn(details, `pool is filling up: ${level} watermark passed`);
    else if (level === "normal") this.logger.info(details, "pool has room again");
    else this.logger.info(details, `pool is emptying: ${previous} watermark left`);
  }
}

function isAbove(level: PoolLevel, other: PoolLevel): boolean {
  return poolLevels.indexOf(level) > poolLevels.indexOf(other);
}

/**
 * Whether volumes may want more than there is. A record or two take a little of what was promised to the last byte, so
 * that less than a hundredth is not told of a pool that was well.
 */
function isShortOf(demandBytes: bigint, freeBytes: bigint, previous: PoolLevel): boolean {
  const missingBytes = demandBytes - freeBytes;
  return missingBytes > (previous === "normal" ? demandBytes / 100n : 0n);
}

function toPercent(part: bigint, whole: bigint): number {
  return whole === 0n ? 100 : Number((part * 1000n) / whole) / 10;
}

/** A level is reached at its mark, and left somewhat below it. */
function chooseLevel(usedPercent: number, marks: Watermarks, previous: PoolLevel): PoolLevel {
  const isAt = (mark: number, isHeld: boolean) => usedPercent >= mark - (isHeld ? calmPercent : 0);
  if (isAt(marks.criticalPercent, previous === "critical")) return "critical";
  return isAt(marks.warningPercent, previous !== "normal") ? "warning" : "normal";
}
