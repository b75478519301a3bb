import { AsyncLocalStorage } from "node:async_hooks";

/** What every step of a dead process fails with. */
export class Crash extends Error {
  override readonly name = "Crash";
}

/**
 * Ends a process that only seems to be one, after a number of its steps that outlive it: from then on nothing that it does
 * has an effect, until the next one is begun.
 */
export class CrashSwitch {
  private stepsLeft = Number.POSITIVE_INFINITY;
  private readonly outside = new AsyncLocalStorage<true>();
  private dead = false;

  get isDead(): boolean {
    return this.dead;
  }

  /** Counts from here on. */
  arm(steps: number): void {
    this.stepsLeft = steps;
  }

  disarm(): void {
    this.stepsLeft = Number.POSITIVE_INFINITY;
  }

  kill(): void {
    this.disarm();
    this.dead = true;
  }

  revive(): void {
    this.dead = false;
  }

  /** One step of the process. */
  async step<Result>(effect: () => Promise<Result>): Promise<Result> {
    if (this.outside.getStore() === true) return await effect();
    if (this.dead) throw new Crash();
    const result = await effect();
    if (--this.stepsLeft > 0) return result;
    this.kill();
    throw new Crash();
  }

  /** Makes each call of these verbs one step, with all that comes of it: what fakes do is not the process's work. */
  guard<Target extends object>(target: Target, verbs: readonly (keyof Target & string)[]): Target {
    const guarded = new Set<string | symbol>(verbs);
    return new Proxy(target, {
      get: (object, name) => {
        const value: unknown = Reflect.get(object, name, object);
        if (typeof value !== "function") return value;
        if (!guarded.has(name)) return value.bind(object);
        return (...args: unknown[]) =>
          this.step(() => this.outside.run(true, async () => await value.apply(object, args)));
      },
    });
  }
}
