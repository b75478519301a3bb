import { DriverError } from "../errors.js";
import type { Volume } from "../pools/volume.js";
import { isVolumeId } from "../pools/volume-id.js";

export interface Page {
  volumes: Volume[];
  nextToken: string;
}

const tokenPrefix = "after:";

/**
 * One page of volumes in the order of their ids. A token names the last id of the page before, so that it stays valid
 * whatever is created or deleted in between.
 */
export function listPage(volumes: readonly Volume[], startingToken: string, entryCountMax: number): Page {
  if (entryCountMax < 0) throw new DriverError("invalid", `max_entries is ${entryCountMax}, it must not be negative`);
  const lastId = readToken(startingToken);
  const remaining = volumes.filter((volume) => volume.id > lastId);
  const page = entryCountMax === 0 ? remaining : remaining.slice(0, entryCountMax);
  const last = page.at(-1);
  const hasMore = last !== undefined && page.length < remaining.length;
  return { volumes: page, nextToken: hasMore ? `${tokenPrefix}${last.id}` : "" };
}

function readToken(token: string): string {
  if (token === "") return "";
  const id = token.slice(tokenPrefix.length);
  if (token.startsWith(tokenPrefix) && isVolumeId(id)) return id;
  throw new DriverError("busy", `starting_token "${token}" was not given by this driver: start again without one`);
}
