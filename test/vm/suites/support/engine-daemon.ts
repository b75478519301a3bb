import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { appendFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import { EngineClient } from "../../../../src/daemon/engine-client.js";
import { repositoryPath } from "./repository.js";
import { waitFor } from "./wait-for.js";

/** How to start an engine. Everything of its own lies below `directory`. */
export interface EngineSettings {
  directory: string;
  /** More flags of `ublk-csi engine`. */
  flags?: string[];
  /** More variables of its environment. */
  environment?: Record<string, string>;
}

const program = join(repositoryPath, "dist/bin/ublk-csi.js");
const startTimeoutMs = 240_000;
const exitTimeoutMs = 120_000;

/** `ublk-csi engine` in a process of its own. */
export class EngineDaemon {
  private readonly exited: Promise<unknown>;

  private constructor(
    readonly settings: EngineSettings,
    private readonly child: ChildProcess,
  ) {
    this.exited = once(child, "exit");
  }

  /** Starts an engine and resolves once it serves its socket. */
  static async start(settings: EngineSettings): Promise<EngineDaemon> {
    const daemon = EngineDaemon.launch(settings);
    const client = new EngineClient(daemon.socketPath, { patienceMs: 0 });
    try {
      await waitFor("the engine serves", () => daemon.answers(client), { timeoutMs: startTimeoutMs, intervalMs: 5 });
      return daemon;
    } catch (cause) {
      await daemon.kill();
      throw new Error(`the engine did not start:\n${await daemon.readLogTail()}`, { cause });
    } finally {
      await client.close();
    }
  }

  /** Starts an engine without waiting for anything. */
  static launch(settings: EngineSettings): EngineDaemon {
    mkdirSync(settings.directory, { recursive: true, mode: 0o700 });
    const log = openSync(join(settings.directory, "engine.log"), "a");
    try {
      const env = { ...process.env, ...settings.environment };
      const child = spawn(process.execPath, [program, ...engineArguments(settings)], {
        stdio: ["ignore", log, log],
        env,
      });
      return new EngineDaemon(settings, child);
    } finally {
      closeSync(log);
    }
  }

  get pid(): number {
    if (this.child.pid === undefined) throw new Error("the engine could not be started: is Node in PATH?");
    return this.child.pid;
  }

  get socketPath(): string {
    return join(this.settings.directory, "engine.sock");
  }

  get hasExited(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** A client whose calls wait while the engine restarts. */
  connect(patienceMs = 60_000): EngineClient {
    return new EngineClient(this.socketPath, { patienceMs });
  }

  /** Kills the engine as a crash would, and resolves when the process is gone. */
  async kill(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.waitForExit();
  }

  /** Asks the engine to end, and resolves with its exit code. */
  async terminate(): Promise<number | null> {
    this.child.kill("SIGTERM");
    return await this.waitForExit();
  }

  /** Resolves with the exit code of an engine that ends by itself. */
  async waitForExit(): Promise<number | null> {
    await waitFor("the engine's process is gone", () => this.hasExited, { timeoutMs: exitTimeoutMs, intervalMs: 5 });
    await this.exited;
    return this.child.exitCode;
  }

  /** Starts the next engine with the same settings, or with some that differ. */
  async restart(change: Partial<EngineSettings> = {}): Promise<EngineDaemon> {
    return await EngineDaemon.start({ ...this.settings, ...change });
  }

  async readLogTail(lineCount = 40): Promise<string> {
    const text = await readFile(join(this.settings.directory, "engine.log"), "utf8");
    return text.trimEnd().split("\n").slice(-lineCount).join("\n");
  }

  /** Brings the log out of the guest, for whoever looks for the cause of a failure. */
  async keepLog(name: string): Promise<void> {
    const folder = process.env.UBLK_RESULTS;
    if (folder === undefined) return;
    const log = await readFile(join(this.settings.directory, "engine.log"));
    await appendFile(join(folder, `${name}.log`), log);
  }

  private async answers(client: EngineClient): Promise<boolean> {
    if (this.hasExited) throw new Error(`it ended with ${this.child.exitCode ?? this.child.signalCode}`);
    return await client.list().then(
      () => true,
      () => false,
    );
  }
}

/** The command line of an engine, without the program. */
export function engineArguments({ directory, flags = [] }: EngineSettings): string[] {
  const socket = join(directory, "engine.sock");
  return ["engine", "--endpoint", `unix://${socket}`, "--state-dir", join(directory, "state"), ...flags];
}
