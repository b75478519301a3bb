import { readFile } from "node:fs/promises";

/** One mount as the kernel reports it. */
export interface MountEntry {
  /** Of the file system: the block device's number, or an anonymous one such as `0:45`. */
  deviceNumber: string;
  /** What of the file system is mounted: `/` for all of it, the path of a file or directory for a bind mount. */
  root: string;
  mountPoint: string;
  /** Options of this mount point, as opposed to those of the file system. */
  options: string[];
  fsType: string;
  source: string;
  /** Options of the file system itself, whatever each mount of it has. */
  superOptions: string[];
}

/** The mounts of this process' mount namespace, in the order in which they were made. */
export async function readMountInfo(path = "/proc/self/mountinfo"): Promise<MountEntry[]> {
  return parseMountInfo(await readFile(path, "utf8"));
}

/** Reads the format of proc(5); lines which do not have it are an error, because safety rests on seeing every mount. */
export function parseMountInfo(text: string): MountEntry[] {
  return text.split("\n").filter(Boolean).map(parseLine);
}

function parseLine(line: string): MountEntry {
  const fields = line.split(" ");
  const separator = fields.indexOf("-", 6);
  const [deviceNumber, root, mountPoint, options] = fields.slice(2, 6);
  const [fsType, source, superOptions = ""] = fields.slice(separator + 1);
  if (separator < 0 || !deviceNumber || !root || !mountPoint || !options || !fsType || source === undefined) {
    throw new Error(`mountinfo has a line of unknown form: ${line}`);
  }
  return {
    deviceNumber,
    root: unescapePath(root),
    mountPoint: unescapePath(mountPoint),
    options: options.split(","),
    fsType,
    source: unescapePath(source),
    superOptions: superOptions.split(","),
  };
}

/** The mount that shows what is at this path, which has no symbolic link in it. */
export function findMountOf(path: string, mounts: readonly MountEntry[]): MountEntry | undefined {
  let best: MountEntry | undefined;
  for (const mount of mounts) {
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

/** Undoes the kernel's octal escapes of space, tab, newline and backslash. */
function unescapePath(escaped: string): string {
  return escaped.replace(/\\([0-7]{3})/g, (_match, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
