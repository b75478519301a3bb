import { setTimeout as sleep } from "node:timers/promises";
import { toMessage } from "../errors.js";

const growthMax = 64;

/** The pauses between attempts at something that fails: each is twice as long as the one before, up to 64 times the first. */
export class RetryPace {
  private growth = 1;
  private lastMessage: string | undefined;

  constructor(private readonly firstMs: number) {}

  /** Makes the next pause longer. Returns whether the error is news, and not the one of the attempt before. */
  noteFailure(error: unknown): boolean {
    this.growth = Math.min(this.growth * 2, growthMax);
    const message = toMessage(error);
    const isNew = message !== this.lastMessage;
    this.lastMessage = message;
    return isNew;
  }

  /** An attempt went well: pauses are as at first, and every error is news. */
  reset(): void {
    this.growth = 1;
    this.lastMessage = undefined;
  }

  get pauseMs(): number {
    return this.firstMs * this.growth;
  }

  /** Resolves at once when `signal` is aborted, and keeps no process alive. */
  async pause(signal: AbortSignal): Promise<void> {
    await sleep(this.pauseMs, undefined, { signal, ref: false }).catch(() => undefined);
  }
}
