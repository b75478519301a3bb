import { readdir, readFile } from "node:fs/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { readProcessResources } from "../../vm/suites/support/process-resources.js";

/** What this process has at one moment. */
export interface OwnResources {
  threads: number;
  descriptors: number;
  /** Of ublk nodes and rings. */
  mappings: number;
  allMappings: number;
  lockedKib: number;
  residentKib: number;
}

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

/** Takes stock after the garbage is gone, so that memory that nobody holds any more does not count. */
export async function readOwnResources(): Promise<OwnResources> {
  collectGarbage();
  await new Promise((resolve) => setImmediate(resolve));
  collectGarbage();
  const { mappings, lockedKib } = await readProcessResources();
  const residentKib = Number(/^VmRSS:\s+(\d+) kB$/m.exec(await readFile("/proc/self/status", "utf8"))?.[1]);
  return {
    threads: (await readdir("/proc/self/task")).length,
    descriptors: (await readdir("/proc/self/fd")).length,
    mappings: mappings.length,
    allMappings: (await readFile("/proc/self/maps", "utf8")).trimEnd().split("\n").length,
    lockedKib,
    residentKib,
  };
}
