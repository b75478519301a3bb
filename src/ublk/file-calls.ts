import { type FileAddon, loadAddon } from "./addon.js";
import { findErrno, toErrnoName } from "./errno.js";

/** {@link FileAddon} with errors in the form of node:fs: `code`, `syscall` and `path`. */
export type FileCalls = FileAddon;

/** A system call on a file failed. */
export class FileCallError extends Error {
  override readonly name = "FileCallError";

  constructor(
    /** The name of the errno, for example `ENOSPC`. */
    readonly code: string,
    readonly syscall: string,
    readonly path: string,
    options: { cause: unknown },
  ) {
    super(`${code}: ${syscall} of ${path} failed`, options);
  }
}

/** What native code does with whole files. Needs no ublk in the kernel. */
export function loadFileCalls(addon: FileAddon = loadAddon()): FileCalls {
  return {
    cloneFile: (source, target) => explained(target, addon.cloneFile(source, target)),
    readExtents: (path, offset, length) => explained(path, addon.readExtents(path, offset, length)),
    peekExtents: (path, offset, length) => explained(path, addon.peekExtents(path, offset, length)),
    readDataRanges: (path, offset, length) => explained(path, addon.readDataRanges(path, offset, length)),
  };
}

async function explained<Answer>(path: string, call: Promise<Answer>): Promise<Answer> {
  try {
    return await call;
  } catch (cause) {
    const step = String((cause as { step?: unknown }).step);
    throw new FileCallError(toErrnoName(findErrno(cause) ?? 0), step, path, { cause });
  }
}
