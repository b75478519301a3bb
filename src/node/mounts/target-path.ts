import { lstat, mkdir, open, readdir, realpath, rmdir, stat, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { DriverError, hasErrno } from "../../errors.js";
import type { MountEntry } from "../../system/mountinfo.js";
import type { Mounter } from "./mounter.js";

export type TargetKind = "directory" | "file";

/** The path as the kernel reports it in mountinfo: links in its parents followed, its own last name kept. */
export async function resolveTargetPath(path: string): Promise<string> {
  try {
    return join(await realpath(dirname(path)), basename(path));
  } catch (error) {
    // In a tree that is broken there is nothing to follow, and what is mounted there shall still be found.
    if (hasErrno(error, "ENOENT", "ENOTDIR", "EIO", "ENOTCONN", "ESTALE")) return path;
    throw error;
  }
}

/** The mounts that are not at this place, by whatever path. */
export async function listElsewhere(mounts: readonly MountEntry[], path: string): Promise<MountEntry[]> {
  const elsewhere: MountEntry[] = [];
  for (const entry of mounts) if (!(await isSamePlace(entry.mountPoint, path))) elsewhere.push(entry);
  return elsewhere;
}

/**
 * Whether two mount points are one. Where kubelet's directory is a bind mount and the driver runs on the host, each mount in it is
 * in the table twice: then their parents are one directory. The places themselves may have mounts that do not answer.
 */
export async function isSamePlace(one: string, other: string): Promise<boolean> {
  if (one === other) return true;
  if (basename(one) !== basename(other)) return false;
  const [first, second] = await Promise.all([identify(dirname(one)), identify(dirname(other))]);
  return first !== undefined && first === second;
}

async function identify(path: string): Promise<string | undefined> {
  try {
    const { dev, ino } = await stat(path, { bigint: true });
    return `${dev}:${ino}`;
  } catch {
    return undefined; // which is the other place to nobody
  }
}

/** Makes the place for a mount, or accepts an empty one. True when it was made now. */
export async function createTarget(path: string, kind: TargetKind): Promise<boolean> {
  try {
    if (kind === "directory") await mkdir(path, { mode: 0o750 });
    else await (await open(path, "wx", 0o640)).close();
    return true;
  } catch (error) {
    if (hasErrno(error, "ENOENT")) throw refused(`the parent directory of ${path} does not exist`, error);
    if (!hasErrno(error, "EEXIST")) throw error;
    await assertEmpty(path, kind);
    return false;
  }
}

/**
 * Removes the place of a mount, after making sure that nothing is mounted there. Only an empty directory or file is
 * removed: data below a path which once was a mount is somebody's data.
 */
export async function removeTarget(path: string, mounter: Mounter): Promise<void> {
  const mounted = findMount(await mounter.list(), path);
  if (mounted !== undefined) throw refused(`${path} still has a mount of ${mounted.source}`);
  try {
    const target = await lstat(path);
    if (target.isDirectory()) return await rmdir(path);
    await assertEmpty(path, "file");
    await unlink(path);
  } catch (error) {
    if (hasErrno(error, "ENOENT", "ENOTDIR")) return;
    if (!hasErrno(error, "ENOTEMPTY", "EEXIST", "EBUSY")) throw error;
    throw refused(`${path} is not empty and was left as it is: look at what is in it, then remove it`, error);
  }
}

/** False only when there is surely nothing: a directory that cannot be looked at may well be there. */
export async function mayExist(path: string): Promise<boolean> {
  return await lstat(path).then(
    () => true,
    (error: unknown) => !hasErrno(error, "ENOENT", "ENOTDIR"),
  );
}

/** The mount one sees at a path: the last one made there. */
export function findMount(mounts: readonly MountEntry[], path: string): MountEntry | undefined {
  return mounts.findLast((entry) => entry.mountPoint === path);
}

async function assertEmpty(path: string, kind: TargetKind): Promise<void> {
  const target = await lstat(path);
  if (kind === "directory" ? !target.isDirectory() : !target.isFile()) throw refused(`${path} is not a ${kind}`);
  const isEmpty = kind === "directory" ? (await readdir(path)).length === 0 : target.size === 0;
  if (!isEmpty) throw refused(`${path} is not empty, a mount would hide what it holds: move that away`);
}

function refused(message: string, cause?: unknown): DriverError {
  return new DriverError("refused", message, { cause });
}
