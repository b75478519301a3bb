import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { IdentityService, ProbeRequest } from "../../../../src/gen/csi/csi.js";
import { CsiClient } from "./csi-client.js";
import { repositoryPath } from "./repository.js";
import { waitFor } from "./wait-for.js";

/** How to start a driver. Everything of its own lies below `directory`. */
export interface DriverSettings {
  directory: string;
  /** Directories of file pools by name. */
  pools?: Record<string, string>;
  /** Budgets of memory pools by name. */
  memoryPools?: Record<string, number>;
  /** A configuration file with more pools. */
  configPath?: string;
  /** The socket of an engine that owns the devices. Default: the driver serves them itself. */
  engineSocketPath?: string;
  /** Where it serves metrics. Default: nowhere. */
  metricsEndpoint?: string;
  nodeId?: string;
  logLevel?: string;
  /** Default: `csi.sock` and `state` in `directory`. */
  socketPath?: string;
  stateDir?: string;
  /** Where its output is appended. Default: `driver.log` in `directory`. */
  logPath?: string;
  /** Beside the variables of this process. */
  environment?: Record<string, string>;
}

export interface ExitStatus {
  exitCode: number | null;
  signal: NodeJS.Signals | null;
  /** The one line for whoever started it by hand, without the program's name; empty when there was none. */
  complaint: string;
}

const readyTimeoutMs = 240_000;
const probeTimeoutMs = 5_000;
const exitTimeoutMs = 60_000;
const driverProgram = join(repositoryPath, "dist/bin/ublk-csi.js");

/** A driver that runs in a process of its own, with the client that talks to it. */
export class DriverProcess {
  readonly client: CsiClient;
  private readonly exited: Promise<unknown>;
  private readonly child: ChildProcess;

  private constructor(
    readonly settings: DriverSettings,
    readonly logPath: string,
  ) {
    this.child = spawnDriver(settings, logPath);
    this.exited = once(this.child, "exit");
    this.client = new CsiClient(socketPathOf(settings));
  }

  /** Starts a driver and resolves once it answers Probe with ready. */
  static async start(settings: DriverSettings): Promise<DriverProcess> {
    const driver = DriverProcess.launch(settings);
    try {
      await driver.waitUntilReady();
      return driver;
    } catch (cause) {
      await driver.kill();
      const log = await driver.readLogTail();
      const reason = log.split("\n").findLast((line) => !line.startsWith("{")) ?? String(cause);
      throw new Error(`the driver did not start: ${reason}\n${log}`, { cause });
    }
  }

  /** Starts a driver which is expected to refuse, and resolves with how it ended. */
  static async runToExit(settings: DriverSettings): Promise<ExitStatus> {
    const driver = DriverProcess.launch(settings);
    try {
      await waitFor("the driver exits", () => driver.hasExited, { timeoutMs: readyTimeoutMs });
    } finally {
      await driver.kill();
    }
    const { exitCode, signalCode } = driver.child;
    return { exitCode, signal: signalCode, complaint: findComplaint(await readFile(driver.logPath, "utf8")) };
  }

  private static launch(settings: DriverSettings): DriverProcess {
    mkdirSync(settings.directory, { recursive: true });
    return new DriverProcess(settings, settings.logPath ?? join(settings.directory, "driver.log"));
  }

  get pid(): number {
    if (this.child.pid === undefined) throw new Error("the driver could not be started: is Node in PATH?");
    return this.child.pid;
  }

  get hasExited(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** Kills the driver as a crash would, and resolves when the process is gone. */
  async kill(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.waitForExit();
  }

  /** Asks the driver to end, and resolves with its exit code. */
  async terminate(): Promise<number | null> {
    this.child.kill("SIGTERM");
    await this.waitForExit();
    return this.child.exitCode;
  }

  /** Starts the next driver of the same settings. This one must have ended. */
  async restart(): Promise<DriverProcess> {
    return await DriverProcess.start(this.settings);
  }

  async readLogTail(lineCount = 20): Promise<string> {
    const text = await readFile(this.logPath, "utf8");
    return text.trimEnd().split("\n").slice(-lineCount).join("\n");
  }

  private async waitForExit(): Promise<void> {
    this.client.close();
    await waitFor("the driver's process is gone", () => this.hasExited, { timeoutMs: exitTimeoutMs, intervalMs: 0 });
    await this.exited;
  }

  private async waitUntilReady(): Promise<void> {
    const prober = new CsiClient(this.client.socketPath);
    try {
      await waitFor("the driver answers Probe", () => this.isReady(prober), { timeoutMs: readyTimeoutMs });
    } finally {
      prober.close();
    }
  }

  private async isReady(prober: CsiClient): Promise<boolean> {
    if (this.hasExited) throw new Error(`it ended with ${this.child.exitCode ?? this.child.signalCode}`);
    try {
      const { ready } = await prober.call(IdentityService.probe, ProbeRequest.fromPartial({}), probeTimeoutMs);
      return ready !== false;
    } catch {
      return false;
    }
  }
}

/** The command line of a driver, without the program. */
export function driverArguments(settings: DriverSettings): string[] {
  const { directory, pools = {}, memoryPools = {}, nodeId = "node-1", logLevel = "info" } = settings;
  return [
    "node",
    ...["--endpoint", `unix://${socketPathOf(settings)}`],
    ...["--node-id", nodeId],
    ...["--state-dir", settings.stateDir ?? join(directory, "state")],
    ...["--kubelet-dir", kubeletDirectoryOf(settings)],
    ...Object.entries(pools).flatMap(([name, path]) => ["--pool", `${name}=${path}`]),
    ...(settings.configPath === undefined ? [] : ["--config", settings.configPath]),
    ...Object.entries(memoryPools).flatMap(([name, bytes]) => ["--memory-pool", `${name}=${bytes}`]),
    ...(settings.engineSocketPath === undefined ? [] : ["--engine", `unix://${settings.engineSocketPath}`]),
    ...(settings.metricsEndpoint === undefined ? [] : ["--metrics-endpoint", settings.metricsEndpoint]),
    ...["--driver-name", "csi.ublk.io", "--log-level", logLevel],
  ];
}

/** Log and complaint go to different streams, so that their order in a common file is open. */
function findComplaint(output: string): string {
  const lines = output.split("\n").filter((line) => !line.startsWith("{") && line !== "");
  if (lines.length > 1) throw new Error(`expected one line beside the log, found:\n${lines.join("\n")}`);
  return (lines[0] ?? "").replace(/^ublk-csi: /, "");
}

function spawnDriver(settings: DriverSettings, logPath: string): ChildProcess {
  const log = openSync(logPath, "a");
  try {
    const env = { ...process.env, ...settings.environment };
    return spawn(process.execPath, [driverProgram, ...driverArguments(settings)], { stdio: ["ignore", log, log], env });
  } finally {
    closeSync(log);
  }
}

/** Where its volumes are staged and published. */
export function kubeletDirectoryOf({ directory }: DriverSettings): string {
  return join(directory, "kubelet");
}

function socketPathOf({ directory, socketPath }: DriverSettings): string {
  return socketPath ?? join(directory, "csi.sock");
}
