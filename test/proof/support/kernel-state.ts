import { appendFile, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { resultsPath } from "./settings.js";

const debugDirectory = "/sys/kernel/debug/block";
/** What blk-mq tells of a device's requests and where they wait; the kernel has no name for "lost". */
const queueFiles = ["state", "requeue_list"];
const hardwareQueueFiles = ["state", "busy", "dispatch", "tags", "sched_tags"];

/**
 * Writes down where the kernel's requests and blocked tasks are, into `kernel-state` of the results and into the kernel's
 * log, for whoever looks for the cause of a hang. To be called while it lasts.
 */
export async function recordKernelState(occasion: string): Promise<void> {
  // User-Mode Linux has none; there, only what blk-mq tells is to be had.
  await writeFile("/proc/sysrq-trigger", "w").catch(() => undefined);
  const lines = [`== ${occasion}`];
  for (const disk of await list(debugDirectory)) {
    if (!disk.startsWith("ublkb")) continue;
    const directory = join(debugDirectory, disk);
    lines.push(`-- ${disk}`, ...(await readAll(directory, queueFiles)));
    for (const queue of (await list(directory)).filter((name) => /^hctx\d+$/.test(name))) {
      lines.push(...(await readAll(join(directory, queue), hardwareQueueFiles)));
    }
  }
  lines.push("-- stacks", ...(await readStacks()));
  await appendFile(join(resultsPath, "kernel-state"), `${lines.join("\n")}\n`);
}

async function readAll(directory: string, names: readonly string[]): Promise<string[]> {
  const texts = names.map(async (name) => `${join(directory, name)}:\n${await read(join(directory, name))}`);
  return await Promise.all(texts);
}

async function readStacks(): Promise<string[]> {
  const tasks = (await list("/proc")).filter((name) => /^\d+$/.test(name));
  const stacks: string[] = [];
  for (const task of tasks) {
    const stack = await read(join("/proc", task, "stack"));
    if (!/ublk|blk_|jbd2|io_wq|io_ring|io_uring/.test(stack)) continue;
    stacks.push(`${task} ${(await read(join("/proc", task, "comm"))).trim()}\n${stack}`);
  }
  return stacks;
}

const read = (path: string) => readFile(path, "utf8").catch((error: unknown) => String(error));
const list = (path: string) => readdir(path).catch(() => [] as string[]);
