import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { syncDirectory } from "../system/files.js";

/** Removes a file, if it is there, and makes the removal last. */
export async function removeDurably(path: string): Promise<void> {
  await rm(path, { force: true });
  await syncDirectory(dirname(path));
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
