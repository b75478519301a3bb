import { join } from "node:path";
import type { Pool } from "../pool/pool.js";
import { UnfinishedMark } from "../records/unfinished-mark.js";

/** Where the record of a group lies in a pool. */
export function groupPath(pool: Pool, groupId: string): string {
  return join(pool.directory.groupsPath, `${groupId}.json`);
}

/** Set while a group is made or removed: members whose group has this mark, and no record, are left-overs. */
export function groupMark(pool: Pool, groupId: string): UnfinishedMark {
  return new UnfinishedMark(groupPath(pool, groupId), join(pool.directory.groupsPath, `${groupId}.unfinished`));
}
