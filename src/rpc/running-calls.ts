import { createHash } from "node:crypto";

/** A call by what it asks for, and by the keys of what it is about. */
export interface RunningCall {
  method: string;
  request: object;
  lockKeys: readonly string[];
}

interface Running {
  digest: string;
  lockKeys: readonly string[];
  answer: Promise<object>;
}

/**
 * The calls that are being worked on. One that equals a running call gets the answer of that one: a caller whose deadline
 * has passed, and who asks again, waits for the work that it began and does not queue behind it. Not so when another call
 * has come for one of its keys since: what was asked for last has to be done last.
 */
export class RunningCalls {
  /** In the order in which they came. */
  private readonly running: Running[] = [];

  /** The answer of the equal call that is running, if this call may have it. */
  find(call: RunningCall): Promise<object> | undefined {
    const latest = this.running.findLast(({ lockKeys }) => lockKeys.some((key) => call.lockKeys.includes(key)));
    return latest?.digest === toDigest(call) ? latest.answer : undefined;
  }

  async run(call: RunningCall, work: () => Promise<object>): Promise<object> {
    const running = { digest: toDigest(call), lockKeys: call.lockKeys, answer: work() };
    this.running.push(running);
    try {
      return await running.answer;
    } finally {
      this.running.splice(this.running.indexOf(running), 1);
    }
  }
}

/** A digest, because requests hold secrets that nothing should keep. Maps arrive in any order, and mean the same in each. */
function toDigest({ method, request }: RunningCall): string {
  const text = JSON.stringify(request, (_name, value: unknown) => toSortable(value));
  return `${method} ${createHash("sha256").update(text).digest("base64")}`;
}

function toSortable(value: unknown): unknown {
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1)));
}
