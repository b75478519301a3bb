import { runFio, verifyOptions } from "../../vm/suites/support/fio.js";

const loopTimeoutMs = 900_000;

/** `fio --verify` on a file again and again, until it is stopped; each pass writes and then compares all of it. */
export class FioLoop {
  passes = 0;
  private isStopping = false;
  private readonly ended: Promise<void>;

  constructor(directory: string, sizeBytes: number) {
    this.ended = this.run(directory, sizeBytes);
    this.ended.catch(() => undefined); // seen by stop
  }

  /** Waits for the pass under way; rejects when any pass failed. */
  async stop(): Promise<void> {
    this.isStopping = true;
    await this.ended;
  }

  private async run(directory: string, sizeBytes: number): Promise<void> {
    const file = { directory, size: sizeBytes, rw: "randwrite", bs: "4k", direct: 1, fsync: 32 };
    const load = { ...verifyOptions, ...file, ioengine: "libaio", iodepth: 8, thinktime: 2000, thinktime_blocks: 8 };
    while (!this.isStopping) {
      await runFio({ load }, loopTimeoutMs);
      this.passes++;
    }
  }
}
