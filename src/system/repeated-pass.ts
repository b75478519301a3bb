import { endsWithin } from "./within.js";

/** Work that is done every so often, and never twice at a time. It must not fail: nobody would hear of it. */
export class RepeatedPass {
  private timer: NodeJS.Timeout | undefined;
  private current: Promise<void> | undefined;
  private stopped = false;

  constructor(
    private readonly everyMs: number,
    private readonly work: () => Promise<void>,
  ) {}

  /** For the work itself, which is to begin nothing more then. */
  get isStopped(): boolean {
    return this.stopped;
  }

  start(): void {
    this.timer = setInterval(() => void this.run(), this.everyMs);
    this.timer.unref();
  }

  /** Does the work now; joins a pass that is not over yet. */
  async run(): Promise<void> {
    if (this.stopped) return;
    this.current ??= this.work().finally(() => {
      this.current = undefined;
    });
    await this.current;
  }

  /** Begins no other pass, and waits so long for the one that is going on. False when that was not over by then. */
  async stop(waitMsMax: number): Promise<boolean> {
    this.stopped = true;
    clearInterval(this.timer);
    return this.current === undefined || (await endsWithin(waitMsMax, this.current));
  }
}
