import { realpath } from "node:fs/promises";
import { DriverError, hasErrno } from "../../errors.js";

/** A path without symbolic links in it, of something that somebody named on the command line. */
export async function resolveGiven(path: string): Promise<string> {
  return await realpath(path).catch((cause: unknown) => {
    if (!hasErrno(cause, "ENOENT", "ENOTDIR")) throw cause;
    throw new DriverError("missing", `${path} does not exist: look how it is spelt`, { cause });
  });
}
