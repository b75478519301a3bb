import { readdir, readFile, readlink } from "node:fs/promises";

/** What the library may hold in this process while it serves, and must not hold afterwards. */
export interface ProcessResources {
  /** Names of threads, for the engine names its own. */
  threads: string[];
  /** Descriptors of ublk nodes and of io_uring. */
  descriptors: string[];
  /** Mappings of ublk nodes, of io_uring and of images. */
  mappings: string[];
  lockedKib: number;
}

export async function readProcessResources(): Promise<ProcessResources> {
  const tasks = await readdir("/proc/self/task");
  const threads = await Promise.all(tasks.map((id) => readText(`/proc/self/task/${id}/comm`)));
  const descriptors = await Promise.all(
    (await readdir("/proc/self/fd")).map((fd) => readTarget(`/proc/self/fd/${fd}`)),
  );
  const mappings = (await readText("/proc/self/maps")).split("\n");
  const locked = /^VmLck:\s+(\d+) kB$/m.exec(await readText("/proc/self/status"))?.[1];
  return {
    threads: threads.filter((name) => name.startsWith("ublk")).sort(),
    descriptors: descriptors.filter((target) => /ublk[bc]?|io_uring/.test(target)).sort(),
    mappings: mappings
      .filter((line) => /\/dev\/ublk|io_uring/.test(line))
      .map((line) => line.split(/\s+/).at(-1) ?? ""),
    lockedKib: Number(locked ?? 0),
  };
}

const readText = async (path: string) => (await readFile(path, "utf8").catch(() => "")).trimEnd();
const readTarget = (path: string) => readlink(path).catch(() => "");
