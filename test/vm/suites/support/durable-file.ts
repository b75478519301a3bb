import { open } from "node:fs/promises";
import { dirname } from "node:path";

/** Writes a file anew; its data and its name are on the disk once this is done. */
export async function writeDurably(path: string, content: string): Promise<void> {
  const file = await open(path, "w");
  await file.writeFile(content);
  await file.sync();
  await file.close();
  const directory = await open(dirname(path), "r");
  await directory.sync();
  await directory.close();
}
