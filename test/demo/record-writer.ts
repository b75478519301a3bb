import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { waitFor } from "../vm/suites/support/wait-for.js";

/** What the writer says of itself. */
export interface WriterReport {
  /** How many records are durable. */
  written: number;
  /** The longest that one write with its fsync took so far. */
  longestPauseMs: number;
  done: boolean;
}

const progressTimeoutMs = 30_000;

/** The writer in a process of its own, as a pod's would be. */
export class RecordWriter {
  private latest: WriterReport = { written: 0, longestPauseMs: 0, done: false };
  private readonly child: ChildProcess;

  constructor(path: string) {
    this.child = fork(join(import.meta.dirname, "writer.js"), [path]);
    this.child.on("message", (report) => {
      this.latest = report as WriterReport;
    });
  }

  get written(): number {
    return this.latest.written;
  }

  /** Waits until this many more records are durable than now. */
  async waitForMore(count: number): Promise<void> {
    const goal = this.written + count;
    await waitFor(`the writer writes record ${goal}`, () => this.isAlive() && this.written >= goal, {
      timeoutMs: progressTimeoutMs,
    });
  }

  async stop(): Promise<WriterReport> {
    this.child.send("stop");
    await waitFor("the writer stops", () => this.isAlive() && this.latest.done, { timeoutMs: progressTimeoutMs });
    return this.latest;
  }

  /** For a demo that ends early. */
  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill("SIGKILL");
    await once(this.child, "exit");
  }

  private isAlive(): true {
    const { exitCode, signalCode } = this.child;
    if (this.latest.done || (exitCode === null && signalCode === null)) return true;
    throw new Error(`the writer ended with ${exitCode ?? signalCode}: a write or an fsync failed`);
  }
}
