import { Buffer } from "node:buffer";
import { constants } from "node:os";
import type { NativeLane, NativeTarget } from "../addon.js";
import { findErrno } from "../errno.js";
import type { Backend, BackendAnswer } from "./backend.js";

/** The numbers of one request in `NativeLane.requests`. */
const requestFields = 5;
const answerFields = 2;

const operations = { read: 0, write: 1, flush: 2, discard: 3, writeZeroes: 5 } as const;

/** Hears of an error that a backend throws or rejects with. */
type ErrorListener = (error: unknown) => void;

/** What native code needs of a backend. */
export function toNativeBackend(backend: Backend, onError: ErrorListener = () => {}): NativeTarget {
  const servers = new Map<NativeLane, LaneServer>();
  return {
    kind: "js",
    flush: backend.flush !== undefined,
    trim: backend.trim !== undefined,
    writeZeroes: backend.writeZeroes !== undefined,
    serve: (lane, requestCount) => {
      const server = servers.get(lane) ?? new LaneServer(backend, lane, onError);
      servers.set(lane, server);
      server.serve(requestCount);
    },
  };
}

/** Serves the requests of one queue, and hands answers back in as few calls as the backend's timing allows. */
class LaneServer {
  private answerCount = 0;
  private isFlushDue = false;
  private readonly handIn = () => {
    this.isFlushDue = false;
    const count = this.answerCount;
    this.answerCount = 0;
    this.lane.answer(count);
  };

  constructor(
    private readonly backend: Backend,
    private readonly lane: NativeLane,
    private readonly onError: ErrorListener,
  ) {}

  serve(requestCount: number): void {
    // Answers are handed in after the whole batch, and not by the first of them.
    this.isFlushDue = true;
    for (let i = 0; i < requestCount; i++) this.begin(i * requestFields);
    if (this.answerCount > 0) this.handIn();
    this.isFlushDue = false;
  }

  private begin(at: number): void {
    const { requests } = this.lane;
    const tag = requests[at] as number;
    const length = requests[at + 3] as number;
    try {
      const answer = this.call(requests[at + 1] as number, requests[at + 2] as number, length, requests[at + 4]);
      if (typeof answer === "object" && answer !== null) {
        answer.then(
          (transferred) => this.finish(tag, length, transferred),
          (error) => this.fail(tag, error),
        );
      } else {
        this.finish(tag, length, answer);
      }
    } catch (error) {
      this.fail(tag, error);
    }
  }

  private call(operation: number, offset: number, length: number, place: number | undefined): BackendAnswer {
    const { backend } = this;
    switch (operation) {
      case operations.read:
        return backend.readAt(Buffer.from(this.lane.memory, place, length), offset);
      case operations.write:
        return backend.writeAt(Buffer.from(this.lane.memory, place, length), offset);
      case operations.flush:
        return backend.flush?.();
      case operations.discard:
        return backend.trim?.(offset, length);
      default:
        return backend.writeZeroes?.(offset, length);
    }
  }

  // biome-ignore lint/suspicious/noConfusingVoidType: what a backend answers
  private finish(tag: number, length: number, transferred: void | number): void {
    if (typeof transferred !== "number" || transferred === length) this.answer(tag, 0);
    else this.fail(tag, new Error(`the backend transferred ${transferred} of ${length} bytes`));
  }

  private fail(tag: number, error: unknown): void {
    this.answer(tag, -toErrno(error));
    // Later, so that what the listener throws does not end the batch.
    queueMicrotask(() => this.onError(error));
  }

  private answer(tag: number, result: number): void {
    const at = this.answerCount++ * answerFields;
    this.lane.answers[at] = tag;
    this.lane.answers[at + 1] = result;
    if (this.isFlushDue) return;
    this.isFlushDue = true;
    queueMicrotask(this.handIn);
  }
}

/** EAGAIN would be lost on the way: the kernel counts it as a failure of its own kind, not as a request to try again. */
function toErrno(error: unknown): number {
  const code = (error as { code?: unknown } | undefined)?.code;
  const byCode = typeof code === "string" ? constants.errno[code as keyof typeof constants.errno] : undefined;
  const errno = byCode ?? findErrno(error);
  const isUsable = errno !== undefined && Number.isInteger(errno) && errno > 0 && errno < 4096;
  return isUsable && errno !== constants.errno.EAGAIN ? errno : constants.errno.EIO;
}
