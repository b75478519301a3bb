import { createHash } from "node:crypto";

/**
 * The calls that are being worked on. One that equals a running call gets the answer of that one: a caller whose deadline
 * has passed, and who asks again, waits for the work that it began and does not queue behind it.
 */
export class RunningCalls {
  private readonly answers = new Map<string, Promise<object>>();

  /** Whether an equal call is running. */
  has(method: string, request: object): boolean {
    return this.answers.has(toKey(method, request));
  }

  async run(method: string, request: object, work: () => Promise<object>): Promise<object> {
    const key = toKey(method, request);
    const running = this.answers.get(key);
    if (running !== undefined) return await running;
    const answer = work().finally(() => this.answers.delete(key));
    this.answers.set(key, answer);
    return await answer;
  }
}

/** A digest, because requests hold secrets that nothing should keep. Maps arrive in any order, and mean the same in each. */
function toKey(method: string, request: object): string {
  const text = JSON.stringify(request, (_name, value: unknown) => toSortable(value));
  return `${method} ${createHash("sha256").update(text).digest("base64")}`;
}

function toSortable(value: unknown): unknown {
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1)));
}
