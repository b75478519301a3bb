import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { EngineClient } from "../../../src/daemon/engine-client.js";
import { repositoryPath } from "../../vm/suites/support/repository.js";
import { waitFor } from "../../vm/suites/support/wait-for.js";

const engineProgram = join(repositoryPath, "dist/bin/ublk-csi.js");
/** Emulated kernels take their time to start a process. */
const startTimeoutMs = 240_000;

export interface StartOptions {
  /** A point of `src/engine/fail-point.ts` at which the engine ends itself. */
  dieAt?: string;
  /** Ask the engine that serves now for its devices. */
  takeOver?: boolean;
}

/** `ublk-csi engine` with a state directory of its own, one process after another. */
export class Engine {
  /** Waits while there is no engine, so that a call outlives kills. */
  readonly client: EngineClient;
  readonly stateDir: string;
  readonly logPath: string;
  private child: ChildProcess | undefined;
  private readonly socketPath: string;

  constructor(directory: string) {
    mkdirSync(join(directory, "socket"), { recursive: true, mode: 0o700 });
    this.stateDir = join(directory, "state");
    this.logPath = join(directory, "engine.log");
    this.socketPath = join(directory, "socket", "engine.sock");
    this.client = new EngineClient(this.socketPath, { patienceMs: startTimeoutMs });
  }

  /** Starts a process and returns at once: what must wait for it asks the client. */
  start({ dieAt, takeOver = false }: StartOptions = {}): ChildProcess {
    const log = openSync(this.logPath, "a");
    const { UBLK_CSI_DIE_AT: _inherited, ...environment } = process.env;
    const env = dieAt === undefined ? environment : { ...environment, UBLK_CSI_DIE_AT: dieAt };
    const flags = ["--endpoint", `unix://${this.socketPath}`, "--state-dir", this.stateDir, "--log-level", "info"];
    const args = [engineProgram, "engine", ...flags, ...(takeOver ? ["--take-over"] : [])];
    try {
      this.child = spawn(process.execPath, args, { stdio: ["ignore", log, log], env });
      return this.child;
    } finally {
      closeSync(log);
    }
  }

  /** Starts a second process, which asks the first for its devices, and waits until the first has gone in good order. */
  async handOver(): Promise<void> {
    const old = this.current;
    const next = this.start({ takeOver: true });
    await waitFor("the old engine or the new one ends", () => hasExited(old) || hasExited(next), {
      timeoutMs: startTimeoutMs,
    });
    if (hasExited(next)) throw new Error(`the new engine ended with ${describeEnd(next)}`);
    if (old.exitCode !== 0) throw new Error(`the old engine ended with ${describeEnd(old)}`);
  }

  /** Starts a second process that dies at a point of the hand-over; the first one stays. */
  async handOverToMortal(dieAt: string): Promise<void> {
    const old = this.current;
    const next = this.start({ takeOver: true, dieAt });
    await this.waitForDeath(next);
    this.child = old;
    if (hasExited(old)) throw new Error(`the old engine ended too, with ${describeEnd(old)}`);
  }

  /** Starts a second process; the first one, started to die at a point of the hand-over, does so. */
  async handOverFromMortal(): Promise<void> {
    const old = this.current;
    this.start({ takeOver: true });
    await this.waitForDeath(old);
  }

  /** Ends the process as a crash does. */
  async kill(): Promise<void> {
    await this.end("SIGKILL");
  }

  async terminate(): Promise<void> {
    await this.end("SIGTERM");
    this.client.close();
  }

  /** Waits until the process has ended itself, as by SIGKILL. */
  async waitForDeath(child = this.current): Promise<void> {
    await waitFor("the engine reaches its fail point", () => hasExited(child), { timeoutMs: startTimeoutMs });
    if (child.signalCode !== "SIGKILL")
      throw new Error(`the engine ended with ${describeEnd(child)}, not at its point`);
  }

  /** What the engine logged as errors, over all its processes. */
  async readErrors(): Promise<string[]> {
    const log = await readFile(this.logPath, "utf8").catch(() => "");
    return log.split("\n").filter((line) => /"level":(50|60|"error"|"fatal")|^ublk-csi: /.test(line));
  }

  get isRunning(): boolean {
    return this.child !== undefined && !hasExited(this.child);
  }

  private get current(): ChildProcess {
    if (this.child === undefined) throw new Error("no engine was started");
    return this.child;
  }

  private async end(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    const child = this.child;
    if (child === undefined || hasExited(child)) return;
    const exited = once(child, "exit");
    child.kill(signal);
    await exited;
  }
}

function hasExited({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}

function describeEnd({ exitCode, signalCode }: ChildProcess): string {
  return signalCode ?? `exit code ${exitCode}`;
}
