import { availableParallelism } from "node:os";
import type { Target } from "./options.js";

const mostQueues = 4;

/**
 * How many queues a device gets that asks for none. A queue is a thread: those of memory do the copying themselves and
 * can use a processor each, those of a file mostly hand requests on. Half or more of the processors stay with the users.
 */
export function defaultQueueCount(kind: Target["kind"], cpuCount = availableParallelism()): number {
  const cpusPerQueue = kind === "file" ? 4 : 2;
  return Math.min(mostQueues, Math.max(1, Math.floor(cpuCount / cpusPerQueue)));
}

/** A file's disk may work on many requests at once; whatever answers on the spot is never that far behind. */
export function defaultQueueDepth(kind: Target["kind"]): number {
  return kind === "file" ? 128 : 64;
}
