import { realpath } from "node:fs/promises";
import { DriverError, hasErrno } from "../../errors.js";
import type { MountEntry } from "../../system/mountinfo.js";

/** The mount that shows the directory of this path, which has no symbolic link in it. */
export async function findMountOf(
  path: string,
  readMounts: () => Promise<MountEntry[]>,
): Promise<MountEntry | undefined> {
  let best: MountEntry | undefined;
  for (const mount of await readMounts()) {
    if (!isAtOrBelow(path, mount.mountPoint)) continue;
    // Of two mounts at one place the later one is seen.
    if (best === undefined || mount.mountPoint.length >= best.mountPoint.length) best = mount;
  }
  return best;
}

/** Whether a path is this directory or lies in it. */
export function isAtOrBelow(path: string, directory: string): boolean {
  return path === directory || path.startsWith(directory.endsWith("/") ? directory : `${directory}/`);
}

/** A path without symbolic links in it, of something that somebody named on the command line. */
export async function resolveGiven(path: string): Promise<string> {
  return await realpath(path).catch((cause: unknown) => {
    if (!hasErrno(cause, "ENOENT", "ENOTDIR")) throw cause;
    throw new DriverError("missing", `${path} does not exist: look how it is spelt`, { cause });
  });
}
