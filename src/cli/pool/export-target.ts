import { lstat } from "node:fs/promises";
import { dirname } from "node:path";
import { DriverError, hasErrno } from "../../errors.js";
import { SpaceAccounts } from "../../pools/capacity/space-accounts.js";
import { readAllocatedBytes } from "../../pools/images/image.js";
import { isAtOrBelow } from "../../system/mountinfo.js";
import { type AbsentPool, type FoundPool, isFound } from "./found-pool.js";
import { resolveGiven } from "./given-path.js";
import type { PoolParts } from "./pool-outcome.js";

interface Exporting extends Pick<PoolParts, "readMounts"> {
  /** Of the image. */
  path: string;
  /** Every pool that the command line names. */
  candidates: ReadonlyArray<FoundPool | AbsentPool>;
}

/** Fails when an image must not be written to a new file there: into a pool, over a file, or on room that volumes have. */
export async function assertTarget(targetPath: string, { path, ...around }: Exporting): Promise<void> {
  const folder = await resolveGiven(dirname(targetPath));
  // One that is not there, too: its disk may just not be mounted.
  const inside = around.candidates.find(({ directory }) => isAtOrBelow(folder, directory));
  if (inside !== undefined) {
    throw new DriverError("refused", `${targetPath} lies in pool ${inside.request.name}: choose a place outside of it`);
  }
  await assertNothingAt(targetPath);
  const neededBytes = await readAllocatedBytes(path);
  for (const { request, pool } of await findNeighbours(folder, around)) {
    // On a pool's own disk the file takes what is promised to volumes.
    const availableBytes = await pool.readAvailableBytes();
    if (neededBytes <= availableBytes) continue;
    const message = `${targetPath} lies on the disk of pool ${request.name}, which has ${availableBytes} bytes that`;
    throw new DriverError(
      "no_space",
      `${message} no volume was promised, and needs ${neededBytes}: choose another disk`,
    );
  }
}

/** The pools on the file system of this folder. Those in memory have one of their own. */
async function findNeighbours(
  folder: string,
  { candidates, readMounts }: Omit<Exporting, "path">,
): Promise<FoundPool[]> {
  const accounts = new SpaceAccounts(readMounts);
  const ofFolder = await accounts.find(folder);
  const neighbours: FoundPool[] = [];
  for (const found of candidates.filter(isFound)) {
    if (found.request.kind !== "file") continue;
    if ((await accounts.find(found.directory)) === ofFolder) neighbours.push(found);
  }
  return neighbours;
}

/** Fails when there is something of this name. */
export async function assertNothingAt(path: string): Promise<void> {
  const isThere = await lstat(path).then(
    () => true,
    (error: unknown) => {
      if (hasErrno(error, "ENOENT")) return false;
      throw error;
    },
  );
  if (isThere) throw new DriverError("refused", `${path} exists: choose the name of a new file`);
}
