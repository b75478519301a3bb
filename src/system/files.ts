import { mkdir, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

/** Makes the names in a directory survive a power cut. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Replaces a file in one step: after a crash it has the old content or the new, never a part. */
export async function writeFileDurably(path: string, content: string): Promise<void> {
  const temporaryPath = temporaryPathOf(path);
  try {
    await writeAndSync(temporaryPath, content);
    await rename(temporaryPath, path);
  } catch (error) {
    await rm(temporaryPath, { force: true });
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** Makes one directory and its name durable. An existing one is an error (EEXIST). */
export async function makeDirectoryDurably(path: string): Promise<void> {
  await mkdir(path, { mode: 0o700 });
  await syncDirectory(dirname(path));
}

/** Where the next content of a file is prepared; left behind only by a crash. */
export function temporaryPathOf(path: string): string {
  return `${path}.tmp`;
}

async function writeAndSync(path: string, content: string): Promise<void> {
  const file = await open(path, "w", 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}
