import { getSystemErrorName } from "node:util";

/** The name of a positive errno, for example `ENOENT` for 2. */
export function toErrnoName(errno: number): string {
  try {
    return getSystemErrorName(-errno);
  } catch {
    return `errno ${errno}`;
  }
}

/** The positive errno of what native code or node:fs rejected with. */
export function findErrno(cause: unknown): number | undefined {
  const errno = (cause as { errno?: unknown } | undefined)?.errno;
  return typeof errno === "number" ? Math.abs(errno) : undefined;
}
