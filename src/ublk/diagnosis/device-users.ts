import { constants } from "node:fs";
import { open, readdir, readFile, readlink, stat } from "node:fs/promises";
import { findMounts, findOpeners, listProcesses, readMountSpaces } from "./device-openers.js";

/** Something that holds a block device. */
export interface DeviceUser {
  /** `exclusive`: a claim of the kernel's own, such as swap or a mount that no process shows. */
  kind: "mount" | "holder" | "process" | "exclusive";
  /** The mount point, the name of the device on top, or the process with its id. */
  name: string;
}

/** What {@link findDeviceUsers} asks of the machine. */
export interface DeviceUsersReader {
  /** The text of a file, or undefined when it is not there. */
  readText(path: string): Promise<string | undefined>;
  /** The names in a folder; none when it is not there. */
  readNames(path: string): Promise<string[]>;
  /** Where a link points, or undefined when it is not there. */
  readLink(path: string): Promise<string | undefined>;
  /** The `major:minor` that a node stands for, or undefined when it is no block device. */
  readDeviceNumber(path: string): Promise<string | undefined>;
  /** Whether somebody holds the block device exclusively. */
  isClaimed(path: string): Promise<boolean>;
}

/** Reads the running machine. */
export const machineUsersReader: DeviceUsersReader = {
  readText: (path) => readFile(path, "utf8").catch(() => undefined),
  readNames: (path) => readdir(path).catch(() => []),
  readLink: (path) => readlink(path).catch(() => undefined),
  readDeviceNumber,
  isClaimed: isClaimedExclusively,
};

/**
 * Who holds /dev/ublkbN: mounts of it in the mount namespace of any process, bind mounts of its node (a raw block volume
 * in a pod), devices stacked on it, loop devices over it, processes that have it open, and exclusive claims. Without root
 * only one's own processes are seen. Ask for claims of a live device only: opening one that waits for its server may wait
 * with it.
 */
export async function findDeviceUsers(
  deviceId: number,
  isLive: boolean,
  reader: DeviceUsersReader = machineUsersReader,
): Promise<DeviceUser[]> {
  const name = `ublkb${deviceId}`;
  const number = (await reader.readText(`/sys/block/${name}/dev`))?.trim();
  const processes = await listProcesses(reader);
  const spaces = await readMountSpaces(processes, reader);
  const mounts = new Set(spaces.flatMap(({ mountInfo }) => findMounts(mountInfo, name, number)));
  const nodes = new Set([`/dev/${name}`, ...mounts]);
  const users: DeviceUser[] = [
    ...[...mounts].map((mount) => ({ kind: "mount", name: mount }) as const),
    ...(await findHolders(name, nodes, reader)).map((holder) => ({ kind: "holder", name: holder }) as const),
    ...(await findOpeners(processes, nodes, number, reader)).map((one) => ({ kind: "process", name: one }) as const),
  ];
  if (users.length === 0 && isLive && (await reader.isClaimed(`/dev/${name}`))) {
    users.push({ kind: "exclusive", name: "an exclusive open that no process shows" });
  }
  return users;
}

/** The processes that have the server's side of a device open, /dev/ublkcN, as `name (id)`. */
export async function findServers(deviceId: number, reader: DeviceUsersReader = machineUsersReader): Promise<string[]> {
  const nodes = new Set([`/dev/ublkc${deviceId}`]);
  return await findOpeners(await listProcesses(reader), nodes, undefined, reader);
}

/** `mount /mnt/a, process fio (12)`, for messages. */
export function describeUsers(users: readonly DeviceUser[]): string {
  const shown = users
    .slice(0, shownUsersMax)
    .map(({ kind, name }) => (kind === "exclusive" ? name : `${kind} ${name}`));
  const rest = users.length - shown.length;
  return shown.join(", ") + (rest > 0 ? ` and ${rest} more` : "");
}

const shownUsersMax = 8;

// The kernel lists device-mapper, md and the like as holders, but not a loop device, which merely has a file open.
async function findHolders(name: string, nodes: Set<string>, reader: DeviceUsersReader): Promise<string[]> {
  const holders = await reader.readNames(`/sys/block/${name}/holders`);
  const loops = (await reader.readNames("/sys/block")).filter((other) => other.startsWith("loop"));
  for (const loop of loops) {
    const backing = (await reader.readText(`/sys/block/${loop}/loop/backing_file`))?.trimEnd();
    if (backing !== undefined && nodes.has(backing)) holders.push(loop);
  }
  return holders;
}

async function readDeviceNumber(path: string): Promise<string | undefined> {
  const node = await stat(path).catch(() => undefined);
  if (!node?.isBlockDevice()) return undefined;
  // makedev(3): the kernel's dev_t as user space sees it, for numbers below 2^32.
  const major = (node.rdev >>> 8) & 0xfff;
  const minor = (node.rdev & 0xff) | ((node.rdev >>> 12) & 0xfff00);
  return `${major}:${minor}`;
}

async function isClaimedExclusively(path: string): Promise<boolean> {
  try {
    // Without O_CREAT, O_EXCL on a block device means a claim of its own (open(2)).
    const file = await open(path, constants.O_RDONLY | constants.O_EXCL);
    await file.close();
    return false;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EBUSY") return true;
    throw error;
  }
}
