import { findPoolUuid } from "../records/pool-directory.js";
import type { Pool } from "./pool.js";

/** Why a pool cannot be used, or undefined when it is where it was at start. */
export async function findPoolFault({ name, directory }: Pool): Promise<string | undefined> {
  const uuid = await findPoolUuid(directory.path).catch(() => undefined);
  if (uuid === directory.uuid) return undefined;
  return `pool ${name} is no longer at ${directory.path}: mount its disk again, then restart the driver`;
}
