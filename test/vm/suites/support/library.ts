import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { repositoryPath } from "./repository.js";

/** The library as it was built: its addon lies beside `dist`, wherever the helpers themselves were compiled to. */
export async function loadLibrary(): Promise<typeof import("../../../../src/ublk/index.js")> {
  return await import(pathToFileURL(join(repositoryPath, "dist/ublk/index.js")).href);
}
