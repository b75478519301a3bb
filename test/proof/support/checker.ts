import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { repositoryPath } from "../../vm/suites/support/repository.js";
import { tryCommand } from "../../vm/suites/support/run-command.js";

export const checkerProgram = join(repositoryPath, ".cache/proof/checker/checker");

/** What a checker did and found; see test/proof/checker/counts.hpp. */
export interface CheckerCounts {
  writes: number;
  durableWrites: number;
  reads: number;
  flushes: number;
  verifiedBlocks: number;
  lost: number;
  stale: number;
  torn: number;
  misplaced: number;
  errors: number;
  longestWaitMs: number;
}

export interface LoadOptions {
  device: string;
  key: number;
  threads?: number;
  pauseUs?: number;
  writes?: number;
  /** Where events are kept for a later `verifyLog`. */
  log?: string;
  /** The dm-log-writes device that gets a mark after each flush. */
  mark?: string;
}

/** Blocks that are not what they must be. */
export function countBad({ lost, stale, torn, misplaced }: CheckerCounts): number {
  return lost + stale + torn + misplaced;
}

/** A checker at work on a device, in a process that knows nothing of the engine's. */
export class CheckerLoad {
  private readonly child: ChildProcess;
  private readonly exited: Promise<unknown>;
  private output = "";
  private complaints = "";

  constructor({ device, key, threads, pauseUs, writes, log, mark }: LoadOptions) {
    const options = { "--threads": threads, "--pause-us": pauseUs, "--writes": writes, "--log": log, "--mark": mark };
    const extra = Object.entries(options).flatMap(([flag, value]) => (value === undefined ? [] : [flag, `${value}`]));
    const args = ["load", "--device", device, "--key", `${key}`, ...extra];
    this.child = spawn(checkerProgram, args, { stdio: ["ignore", "pipe", "pipe"] });
    this.child.stdout?.on("data", (text: Buffer) => {
      this.output += text;
    });
    this.child.stderr?.on("data", (text: Buffer) => {
      this.complaints += text;
    });
    this.exited = once(this.child, "close");
  }

  /** Ends the writing, waits until every block was compared, and returns the result. */
  async stop(): Promise<CheckerCounts> {
    this.child.kill("SIGTERM");
    return await this.wait();
  }

  /** Waits for a load that ends by itself. */
  async wait(): Promise<CheckerCounts> {
    await this.exited;
    return parseCounts(this.output, this.complaints);
  }

  /** What it had to say of bad blocks and errors. */
  get findings(): string {
    return this.complaints.trim();
  }
}

/** What a comparison found, and what the checker had to say about it. */
export interface Verification extends CheckerCounts {
  findings: string;
}

/** Compares a device or file with the log of a checker: after a power failure at a mark, else after a process crash. */
export async function verifyLog(device: string, log: string, mark?: number): Promise<Verification> {
  const extra = mark === undefined ? [] : ["--mark", `${mark}`];
  const { stdout, stderr } = await tryCommand(checkerProgram, ["verify", "--device", device, "--log", log, ...extra]);
  return { ...parseCounts(stdout, stderr), findings: stderr.trim() };
}

function parseCounts(output: string, complaints: string): CheckerCounts {
  if (output.startsWith("{")) return JSON.parse(output) as CheckerCounts;
  throw new Error(`the checker gave no result: ${complaints.trim() || "it was killed"}`);
}
