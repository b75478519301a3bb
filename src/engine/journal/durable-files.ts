import { readdir, readFile, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { syncDirectory, temporaryPathOf } from "../../system/files.js";

/** Removes a file, if it is there, with what a crash has left of its next content, and makes the removal last. */
export async function removeDurably(path: string): Promise<void> {
  await rm(path, { force: true });
  await rm(temporaryPathOf(path), { force: true });
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

/** The names in a folder; none when it is not there. */
export async function readFolder(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
