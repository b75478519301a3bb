import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { DriverProcess } from "./driver-process.js";
import { repositoryPath } from "./repository.js";
import { waitFor } from "./wait-for.js";

const counter = join(repositoryPath, "test/vm/suites/support/die-at-step.js");
const deathTimeoutMs = 20_000;

/** Lets drivers end at a given step of what they do; see die-at-step.js. */
export class CountedSteps {
  /** What a driver has to be started with. */
  readonly environment: Record<string, string>;
  private dieAfter = 0;

  constructor(private readonly directory: string) {
    mkdirSync(directory, { recursive: true });
    this.environment = { NODE_OPTIONS: `--import=${counter}`, UBLK_STEPS: directory };
  }

  /** From here on the driver counts its steps, and ends right after this one; with 0 it only counts. */
  async count(driver: DriverProcess, dieAfter: number): Promise<void> {
    writeFileSync(join(this.directory, "limit"), String(dieAfter));
    await rm(this.takenPath, { force: true });
    this.dieAfter = dieAfter;
    try {
      process.kill(driver.pid, "SIGUSR2");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
      // What went on after the last answer was the step that it was to die of.
      return await waitFor("the driver is gone", () => driver.hasExited, { timeoutMs: deathTimeoutMs }).then(
        () => undefined,
      );
    }
    await waitFor("the driver begins to count", () => driver.hasExited || this.findTaken() !== undefined, {
      intervalMs: 1,
    });
  }

  /** The names of the steps that were taken since `count`. */
  async readTaken(): Promise<string[]> {
    return (await readFile(this.takenPath, "utf8")).split("\n").slice(0, -1);
  }

  /** Whether the driver has taken the step that it was to die of; then it is dead. */
  async isDone(driver: DriverProcess): Promise<boolean> {
    if (!driver.hasExited && (this.dieAfter === 0 || (await this.readTaken()).length < this.dieAfter)) return false;
    await waitFor("the driver is gone", () => driver.hasExited, { timeoutMs: deathTimeoutMs });
    return true;
  }

  /** Makes a call of which the driver may die. Whether it has; any other failure is the call's. */
  async dies(driver: DriverProcess, call: () => Promise<unknown>): Promise<boolean> {
    try {
      await call();
      return driver.hasExited;
    } catch (error) {
      if ((error as { code?: unknown }).code !== unavailable) throw error;
      await waitFor("the driver is gone", () => driver.hasExited, { timeoutMs: deathTimeoutMs });
      return true;
    }
  }

  private findTaken(): string | undefined {
    try {
      return readFileSync(this.takenPath, "utf8");
    } catch {
      return undefined;
    }
  }

  private get takenPath(): string {
    return join(this.directory, "taken");
  }
}

/** What a caller gets whose connection breaks: gRPC's UNAVAILABLE. */
const unavailable = 14;
