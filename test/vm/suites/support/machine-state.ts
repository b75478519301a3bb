import { readdir, readlink } from "node:fs/promises";
import { readMounts } from "./mounts.js";
import { waitFor } from "./wait-for.js";

/** What a test could leave behind on a machine. */
export interface MachineState {
  devices: string[];
  mounts: string[];
  processes: string[];
}

export async function readMachineState(): Promise<MachineState> {
  return { devices: await readDevices(), mounts: readMountLines(), processes: await readUblkProcesses() };
}

/** Waits until nothing is there that was not there `before`, and fails with what it is. */
export async function waitUntilNothingIsLeft(before: MachineState, timeoutMs = 10_000): Promise<void> {
  const isTidy = async () => (await findLeftovers(before)).length === 0;
  try {
    await waitFor("nothing is left behind", isTidy, { timeoutMs });
  } catch (cause) {
    const left = await findLeftovers(before);
    if (left.length > 0) throw new Error(`left behind:\n  ${left.join("\n  ")}`, { cause });
  }
}

async function findLeftovers(before: MachineState): Promise<string[]> {
  const now = await readMachineState();
  const kinds = ["devices", "mounts", "processes"] as const;
  return kinds.flatMap((kind) => subtract(now[kind], before[kind]));
}

/** Every ublk node in /dev and entry in sysfs, and every mapping. */
async function readDevices(): Promise<string[]> {
  const nodes = (await readdir("/dev")).filter((name) => /^ublk[bc]\d/.test(name)).map((name) => `/dev/${name}`);
  const blocks = (await readdir("/sys/block"))
    .filter((name) => name.startsWith("ublk"))
    .map((name) => `/sys/block/${name}`);
  const mappings = (await readdir("/dev/mapper").catch(() => [])).map((name) => `/dev/mapper/${name}`);
  return [...nodes, ...blocks, ...mappings];
}

function readMountLines(): string[] {
  return readMounts().map(({ source, mountPoint, fsType }) => `${source} on ${mountPoint} type ${fsType}`);
}

/** Whoever has a device open: engines, and readers and writers. The control node is anyone's to keep. */
async function readUblkProcesses(): Promise<string[]> {
  const ids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const users = await Promise.all(ids.map(async (id) => ((await holdsUblk(id)) ? [`process ${id}`] : [])));
  return users.flat();
}

async function holdsUblk(processId: string): Promise<boolean> {
  const targets = await readLinks(`/proc/${processId}/fd`);
  return targets.some((target) => /^\/dev\/ublk[bc]\d/.test(target));
}

async function readLinks(directory: string): Promise<string[]> {
  const names = await readdir(directory).catch(() => []);
  return await Promise.all(names.map((name) => readlink(`${directory}/${name}`).catch(() => "")));
}

/** Counted, so that two equal mounts of which one was there before still show. */
function subtract(now: string[], before: string[]): string[] {
  const rest = [...before];
  return now.filter((item) => {
    const index = rest.indexOf(item);
    if (index < 0) return true;
    rest.splice(index, 1);
    return false;
  });
}
