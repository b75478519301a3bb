import type { Logger } from "../../log.js";
import { RetryPace } from "../../system/retry-pace.js";

/** What a failed attempt has left in a pool: an image that the engine may still write to, or that could not be removed. */
export interface Leftover {
  id: string;
  /** What its image was to be made from. */
  sourceId: string;
  /** May be repeated. */
  remove: () => Promise<void>;
}

export interface LeftoversOptions {
  logger: Logger;
  /** The first pause between two attempts. */
  pauseMs: number;
}

/**
 * Removes left-overs in the background, again and again until they are gone. Until then their bytes stay booked, and of one
 * source there is never more than one attempt's.
 */
export class Leftovers {
  private readonly entries = new Map<string, { leftover: Leftover; attempt?: Promise<void>; ended: Promise<void> }>();
  private readonly stop = new AbortController();

  constructor(private readonly options: LeftoversOptions) {}

  /** Takes on what could not be removed. After `close` it is the next start that finds it. */
  add(leftover: Leftover, error: unknown): void {
    this.entries.set(leftover.id, { leftover, ended: this.repeat(leftover, error) });
  }

  /** Removes what earlier attempts have left of these sources, or fails as that does: nothing more piles up. */
  async clear(sourceIds: readonly string[]): Promise<void> {
    for (const { leftover } of [...this.entries.values()]) {
      if (sourceIds.includes(leftover.sourceId)) await this.remove(leftover);
    }
  }

  /** Ends the attempts; one under way is finished first. */
  async close(): Promise<void> {
    this.stop.abort();
    await Promise.all([...this.entries.values()].map(({ ended }) => ended));
  }

  private async repeat(leftover: Leftover, error: unknown): Promise<void> {
    const pace = new RetryPace(this.options.pauseMs);
    for (let err = error; ; ) {
      if (pace.noteFailure(err)) this.report(leftover, err);
      await pace.pause(this.stop.signal);
      if (this.stop.signal.aborted) return;
      try {
        return await this.remove(leftover);
      } catch (next) {
        err = next;
      }
    }
  }

  /** One attempt at a time, which everybody waits for. */
  private async remove(leftover: Leftover): Promise<void> {
    const entry = this.entries.get(leftover.id);
    if (entry === undefined) return;
    entry.attempt ??= this.attempt(leftover).finally(() => delete entry.attempt);
    await entry.attempt;
  }

  private async attempt({ id, remove }: Leftover): Promise<void> {
    await remove();
    this.entries.delete(id);
    this.options.logger.info({ id }, "left-over of a failed attempt removed");
  }

  private report({ id, sourceId }: Leftover, err: unknown): void {
    this.options.logger.error(
      { id, sourceId, err },
      "left-over of a failed attempt could not be removed, trying again",
    );
  }
}
