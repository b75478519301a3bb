import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

/** A write that did not end leaves its bytes under this suffix; nothing reads them. */
export const temporarySuffix = ".tmp";

/** Replaces a file so that after a crash at any moment either the old or the new text is there, whole. */
export async function writeDurably(path: string, text: string): Promise<void> {
  const temporary = `${path}${temporarySuffix}`;
  const file = await open(temporary, "w", 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
  await syncFolder(dirname(path));
}

/** Removes a file, if it is there, and makes the removal last. */
export async function removeDurably(path: string): Promise<void> {
  await rm(path, { force: true });
  await syncFolder(dirname(path));
}

/** The text of a file, or undefined when there is none. */
export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** The names in a folder, which is made when it is missing. */
export async function readOrMakeFolder(path: string): Promise<string[]> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  return await readdir(path);
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
