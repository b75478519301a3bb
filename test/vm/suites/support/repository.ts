import { existsSync } from "node:fs";
import { dirname, join } from "node:path";

/** The root of the checkout. The helpers run from their sources and, compiled, from below `.cache/`. */
export const repositoryPath = findRepository(import.meta.dirname);

function findRepository(directory: string): string {
  if (existsSync(join(directory, "package.json")) && existsSync(join(directory, "Makefile"))) return directory;
  const parent = dirname(directory);
  if (parent === directory) throw new Error(`${import.meta.filename} lies outside of a checkout of ublk-csi`);
  return findRepository(parent);
}
