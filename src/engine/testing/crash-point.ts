import type { FakeKernel } from "../../ublk/testing/fake-kernel.js";
import type { Journal } from "../journal/journal.js";

/** What every step of a crashed process fails with. */
export class Crash extends Error {
  override readonly name = "Crash";
}

/** Ends a fake process after a given number of steps: from then on nothing it does has an effect. */
export class CrashPoint {
  /** The step after which it crashed. */
  crashedAfter: string | undefined;
  private stepsLeft = Number.POSITIVE_INFINITY;

  /** Counts from here on, the kernel's steps and those of wrapped journals. */
  arm(kernel: FakeKernel, steps: number): void {
    this.stepsLeft = steps;
    kernel.beforeStep = () => this.before();
    kernel.afterStep = (step) => this.after(step);
  }

  /** The next process on this kernel is a healthy one. */
  static disarm(kernel: FakeKernel): void {
    kernel.beforeStep = () => {};
    kernel.afterStep = () => {};
  }

  /** A journal whose writes and removals are steps too. */
  wrap(journal: Journal): Journal {
    const step = async (name: string, effect: () => Promise<void>) => {
      this.before();
      await effect();
      this.after(name);
    };
    return {
      read: (volumeId) => journal.read(volumeId),
      readAll: () => journal.readAll(),
      write: (entry) => step(`journal ${entry.state}`, () => journal.write(entry)),
      remove: (volumeId) => step("journal remove", () => journal.remove(volumeId)),
      removeUnwritten: (volumeId) => journal.removeUnwritten(volumeId),
    };
  }

  private before(): void {
    if (this.crashedAfter !== undefined) throw new Crash();
  }

  // Reads change nothing, so a crash after one is the crash after the step before it.
  private after(step: string): void {
    if (step === "GET_DEV_INFO" || step === "GET_FEATURES") return;
    if (this.stepsLeft-- > 0) return;
    this.crashedAfter = step;
    throw new Crash();
  }
}
