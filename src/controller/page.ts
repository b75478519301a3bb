import { DriverError } from "../errors.js";
import { isVolumeId } from "../pools/volume/volume-id.js";

/** What can be listed: things with ids that are formed like those of volumes. */
export interface Listed {
  id: string;
}

export interface Page<Item> {
  items: Item[];
  /** Empty on the last page. */
  nextToken: string;
}

const tokenPrefix = "after:";

/**
 * One page of things that are given in the order of their ids. A token names the last id of the page before, so that it
 * stays valid whatever is created or deleted in between, and over a restart. 0 entries are all of them.
 */
export function listPage<Item extends Listed>(
  items: readonly Item[],
  startingToken: string,
  entryCountMax: number,
): Page<Item> {
  if (entryCountMax < 0) throw new DriverError("invalid", `max_entries is ${entryCountMax}, it must not be negative`);
  const lastId = readToken(startingToken);
  const remaining = items.filter(({ id }) => id > lastId);
  const page = entryCountMax === 0 ? remaining : remaining.slice(0, entryCountMax);
  const last = page.at(-1);
  const hasMore = last !== undefined && page.length < remaining.length;
  return { items: page, nextToken: hasMore ? `${tokenPrefix}${last.id}` : "" };
}

function readToken(token: string): string {
  if (token === "") return "";
  const id = token.slice(tokenPrefix.length);
  if (token.startsWith(tokenPrefix) && isVolumeId(id)) return id;
  throw new DriverError("busy", `starting_token "${token}" was not given by this driver: start again without one`);
}
