import { BlockDeviceError } from "../engine/block-devices.js";

/** Gives what arrives on a stream to one reader, in order. */
export class Mailbox<T> {
  private readonly messages: T[] = [];
  private failure: Error | undefined;
  private notify: () => void = () => undefined;
  private announceEnd: (reason: Error) => void = () => undefined;
  private readonly ended = new Promise<never>((_, reject) => {
    this.announceEnd = reject;
  });

  constructor() {
    this.ended.catch(() => undefined); // most readers learn of it from `next`
  }

  add(message: T): void {
    this.messages.push(message);
    this.notify();
  }

  /** Nothing follows. The first reason counts. */
  close(reason: Error): void {
    this.failure ??= reason;
    this.announceEnd(this.failure);
    this.notify();
  }

  /** What this comes to, or the reason why nothing follows, whichever is first. */
  async unlessClosed<Result>(work: Promise<Result>): Promise<Result> {
    return await Promise.race([work, this.ended]);
  }

  /** The next message, or the reason why there is none. */
  async next(timeoutMs: number): Promise<T> {
    if (this.messages.length === 0 && this.failure === undefined) await this.waitForNotice(timeoutMs);
    const [message] = this.messages.splice(0, 1);
    if (message !== undefined) return message;
    throw this.failure ?? new BlockDeviceError("unavailable", `the other engine was silent for ${timeoutMs} ms`);
  }

  private waitForNotice(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.notify = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
