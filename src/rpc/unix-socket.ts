import { lstat, mkdir, unlink } from "node:fs/promises";
import { connect } from "node:net";
import { dirname } from "node:path";
import { DriverError, hasErrno } from "../errors.js";

/** sun_path has 108 bytes, one of them for the terminator. */
export const socketPathBytesMax = 107;

/** Makes room for a socket: removes one that nobody serves, and refuses everything else that has its name. */
export async function prepareSocketPath(path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const existing = await lstat(path).catch((error: unknown) => {
    if (hasErrno(error, "ENOENT")) return undefined;
    throw error;
  });
  if (existing === undefined) return;
  if (!existing.isSocket()) {
    throw new DriverError("refused", `${path} exists and is not a socket: choose another --endpoint, or move it away`);
  }
  if (await isServed(path)) {
    throw new DriverError("refused", `another process serves ${path}: stop it, or choose another --endpoint`);
  }
  await unlink(path);
}

/** Whether a process accepts connections there. */
export function isServed(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", (error) => {
      if (hasErrno(error, "ECONNREFUSED", "ENOENT")) resolve(false);
      else reject(error);
    });
  });
}
