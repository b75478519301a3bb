import { lstat, mkdir, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { DriverError, hasErrno } from "../errors.js";

/**
 * The engine's socket has a name of its own while it is bound and gets the common one by rename, so that there is no
 * moment without a socket when one engine follows another, and none removes the other's.
 */
export class EngineSocket {
  /** Where the server binds. */
  readonly boundPath: string;
  private inode: bigint | undefined;

  constructor(readonly path: string) {
    this.boundPath = toBoundPath(path);
  }

  /** Before the server binds. */
  async prepare(): Promise<void> {
    await ensurePrivateDirectory(dirname(this.path));
    const existing = await lstatIfThere(this.path);
    if (existing !== undefined && !existing.isSocket()) {
      throw new DriverError("refused", `${this.path} is not a socket: choose another --endpoint, or move it away`);
    }
    await rm(this.boundPath, { force: true });
  }

  /** Once the server listens: from now on new connections are ours. */
  async publish(): Promise<void> {
    this.inode = (await stat(this.boundPath, { bigint: true })).ino;
    await rename(this.boundPath, this.path);
  }

  /** Removes the name, unless another engine has it by now. */
  async withdraw(): Promise<void> {
    const existing = await lstatIfThere(this.path);
    if (existing !== undefined && existing.ino === this.inode) await rm(this.path, { force: true });
  }
}

function toBoundPath(path: string): string {
  return `${path}.${process.pid}`;
}

/** Who may enter the directory may command the engine. */
export async function ensurePrivateDirectory(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  const { mode, uid } = await stat(path);
  const owner = process.geteuid?.() ?? 0;
  if (uid !== owner) {
    throw new DriverError(
      "refused",
      `${path} belongs to user ${uid}, not to ${owner}: give the socket a directory of its own`,
    );
  }
  if ((mode & 0o077) === 0) return;
  const found = (mode & 0o777).toString(8).padStart(4, "0");
  const advice = `chmod 0700 ${path}, or choose another directory for the socket`;
  throw new DriverError("refused", `${path} has mode ${found}, so that others could command the engine: ${advice}`);
}

async function lstatIfThere(path: string) {
  return await lstat(path, { bigint: true }).catch((error: unknown) => {
    if (hasErrno(error, "ENOENT")) return undefined;
    throw error;
  });
}
