import type { FileHandle } from "node:fs/promises";

/** Names an open file to programs that this process starts, wherever the name that it was opened by leads by now. */
export function toOpenPath({ fd }: FileHandle): string {
  return `/proc/${process.pid}/fd/${fd}`;
}
