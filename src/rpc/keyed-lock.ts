import { DriverError } from "../errors.js";

/** Lets one holder at a time have a key. Waiters are served in order, and give up after a limit. */
export class KeyedLock {
  private readonly queues = new Map<string, Array<() => void>>();
  private readonly idleListeners: Array<() => void> = [];

  constructor(private readonly waitMsMax: number) {}

  /** Runs work while holding all the keys; waiting longer than the limit for one of them is `busy`. */
  async run<T>(keys: readonly string[], work: () => Promise<T>): Promise<T> {
    // The same order for everyone: two callers can never hold a key that the other one waits for.
    const ordered = [...new Set(keys)].sort();
    const held: string[] = [];
    try {
      for (const key of ordered) {
        await this.acquire(key);
        held.push(key);
      }
      return await work();
    } finally {
      for (const key of held.reverse()) this.release(key);
    }
  }

  /** Resolves when nobody has a key or waits for one. */
  async whenIdle(): Promise<void> {
    if (this.queues.size > 0) await new Promise<void>((resolve) => this.idleListeners.push(resolve));
  }

  private acquire(key: string): Promise<void> {
    const queue = this.queues.get(key);
    if (queue === undefined) {
      this.queues.set(key, []);
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const enter = () => {
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(() => {
        queue.splice(queue.indexOf(enter), 1);
        const waited = `waited ${this.waitMsMax} ms for it`;
        reject(new DriverError("busy", `another operation on ${key} is still running (${waited}): try again`));
      }, this.waitMsMax);
      queue.push(enter);
    });
  }

  private release(key: string): void {
    const next = this.queues.get(key)?.shift();
    if (next === undefined) this.queues.delete(key);
    else next();
    if (this.queues.size === 0) for (const listener of this.idleListeners.splice(0)) listener();
  }
}
