import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { hasErrno } from "../../errors.js";
import { type RecordFormat, readRecord, writeRecord } from "./record-file.js";

const registryFormat: RecordFormat<{ uuid: string }> = {
  name: "pool registration",
  version: 1,
  schema: z.object({ uuid: z.uuid() }),
};

/**
 * Remembers, in the state directory, which pool a name stood for. A disk that is not mounted leaves an empty directory:
 * without this memory it would become a new pool, and the volumes on the disk would be taken for deleted.
 */
export class PoolRegistry {
  private readonly directory: string;

  constructor(stateDir: string) {
    this.directory = join(stateDir, "pools");
  }

  /** Where a name is remembered; removing the file makes the driver forget it. */
  pathOf(poolName: string): string {
    return join(this.directory, `${poolName}.json`);
  }

  async find(poolName: string): Promise<string | undefined> {
    try {
      return (await readRecord(this.pathOf(poolName), registryFormat)).uuid;
    } catch (error) {
      if (hasErrno(error, "ENOENT")) return undefined;
      throw error;
    }
  }

  async remember(poolName: string, uuid: string): Promise<void> {
    await mkdir(this.directory, { recursive: true, mode: 0o700 });
    await writeRecord(this.pathOf(poolName), registryFormat, { uuid });
  }
}
