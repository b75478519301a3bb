import { realpath } from "node:fs/promises";
import { listProcesses } from "./device-openers.js";
import { type DeviceUsersReader, machineUsersReader } from "./device-users.js";

/** What {@link findImageLockers} asks of the machine. */
export interface ImageLockersReader extends Pick<DeviceUsersReader, "readText" | "readNames" | "readLink"> {
  /** The path without links, or undefined when it is not there. */
  realPath(path: string): Promise<string | undefined>;
}

/** Reads the running machine. */
export const machineLockersReader: ImageLockersReader = {
  ...machineUsersReader,
  realPath: (path) => realpath(path).catch(() => undefined),
};

/**
 * The processes that have a lock on the file or block device `path`, as `name (id)`: whoever serves it has one. fcntl(2)
 * does not tell whose a lock of an open file is, but proc(5)'s fdinfo has it with the descriptor. Without root only one's
 * own processes are seen, and none that knows the image by a path of its own mounts.
 */
export async function findImageLockers(
  path: string,
  reader: ImageLockersReader = machineLockersReader,
): Promise<string[]> {
  const realPath = await reader.realPath(path);
  const lockers: string[] = [];
  if (realPath === undefined) return lockers;
  for (const process of await listProcesses(reader)) {
    if (!(await hasLock(process, realPath, reader))) continue;
    const name = (await reader.readText(`/proc/${process}/comm`))?.trim() ?? "?";
    lockers.push(`${name} (${process})`);
  }
  return lockers;
}

async function hasLock(process: string, realPath: string, reader: ImageLockersReader): Promise<boolean> {
  for (const fd of await reader.readNames(`/proc/${process}/fd`)) {
    if ((await reader.readLink(`/proc/${process}/fd/${fd}`)) !== realPath) continue;
    const info = await reader.readText(`/proc/${process}/fdinfo/${fd}`);
    if (info !== undefined && /^lock:/m.test(info)) return true;
  }
  return false;
}
