import { Buffer } from "node:buffer";
import type { NativeLane, NativeTarget } from "../addon.js";

/** A request as the queue of a test sends it. */
export interface LaneRequest {
  tag: number;
  /** Its number in the kernel: 0 read, 1 write, 2 flush, 3 discard, 5 write-zeroes. */
  operation: number;
  offset?: number;
  length?: number;
}

/** The native end of one queue: four tags with 4096 bytes each. */
export class FakeLane implements NativeLane {
  static readonly bytesPerTag = 4096;
  readonly memory = new ArrayBuffer(4 * FakeLane.bytesPerTag);
  readonly requests = new Float64Array(4 * 5);
  readonly answers = new Int32Array(4 * 2);
  /** What was handed in, one list for each call. */
  readonly handedIn: [tag: number, result: number][][] = [];

  /** Hands one batch to the target, as native code does. */
  deliver(target: NativeTarget, ...requests: LaneRequest[]): void {
    if (target.kind !== "js") throw new Error(`a ${target.kind} target takes no batch`);
    requests.forEach(({ tag, operation, offset = 0, length = 0 }, index) => {
      this.requests.set([tag, operation, offset, length, tag * FakeLane.bytesPerTag], index * 5);
    });
    target.serve(this, requests.length);
  }

  answer(count: number): void {
    const answers = Array.from({ length: count }, (_, i) => [...this.answers.slice(i * 2, i * 2 + 2)]);
    this.handedIn.push(answers as [number, number][]);
  }

  buffer(tag: number, length = FakeLane.bytesPerTag): Buffer {
    return Buffer.from(this.memory, tag * FakeLane.bytesPerTag, length);
  }
}
