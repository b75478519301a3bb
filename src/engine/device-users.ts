import { constants } from "node:fs";
import { open, readdir, readFile } from "node:fs/promises";

/** Something that holds a block device. */
export interface DeviceUser {
  /** `exclusive`: a mount in another namespace, mkfs, swap and the like; who it is cannot be seen from here. */
  kind: "mount" | "holder" | "exclusive";
  /** The mount point or the name of the device on top. */
  name: string;
}

/** What {@link findDeviceUsers} asks of the machine. */
export interface DeviceUsersReader {
  /** The text of a file, or undefined when it is not there. */
  readText(path: string): Promise<string | undefined>;
  /** The names in a folder; none when it is not there. */
  readNames(path: string): Promise<string[]>;
  /** Whether somebody holds the block device exclusively. */
  isClaimed(path: string): Promise<boolean>;
}

/** Reads the running machine. */
export const machineUsersReader: DeviceUsersReader = {
  readText: (path) => readFile(path, "utf8").catch(() => undefined),
  readNames: (path) => readdir(path).catch(() => []),
  isClaimed: isClaimedExclusively,
};

/**
 * Who holds /dev/ublkbN: mounts of it, bind mounts of its node (a raw block volume in a pod), devices stacked on it, and
 * exclusive claims. A process that merely has it open is not seen. Ask for claims of a live device only: opening one that
 * waits for its server may wait with it.
 */
export async function findDeviceUsers(
  deviceId: number,
  isLive: boolean,
  reader: DeviceUsersReader = machineUsersReader,
): Promise<DeviceUser[]> {
  const name = `ublkb${deviceId}`;
  const number = (await reader.readText(`/sys/block/${name}/dev`))?.trim();
  const mountInfo = (await reader.readText("/proc/self/mountinfo")) ?? "";
  const users: DeviceUser[] = [
    ...findMounts(mountInfo, name, number).map((mount) => ({ kind: "mount", name: mount }) as const),
    ...(await reader.readNames(`/sys/block/${name}/holders`)).map(
      (holder) => ({ kind: "holder", name: holder }) as const,
    ),
  ];
  if (users.length === 0 && isLive && (await reader.isClaimed(`/dev/${name}`))) {
    users.push({ kind: "exclusive", name: "an exclusive open, such as a mount in another namespace" });
  }
  return users;
}

/** The mount points in the text of mountinfo(5) that belong to a device, given by its node's name and major:minor. */
export function findMounts(mountInfo: string, name: string, number: string | undefined): string[] {
  return mountInfo
    .split("\n")
    .map((line) => line.split(" "))
    .filter((fields) => isMountOf(fields, name, number))
    .map((fields) => unescapePath(fields[4] ?? ""));
}

function isMountOf(fields: string[], name: string, number: string | undefined): boolean {
  const separator = fields.indexOf("-");
  if (separator < 0) return false;
  const [type, source] = [fields[separator + 1], fields[separator + 2]];
  if (number !== undefined && fields[2] === number) return true;
  // btrfs shows a device number of its own (0:N), so its source has to tell; a bind-mounted node has devtmpfs's number.
  if (fields[2]?.startsWith("0:") && source === `/dev/${name}`) return true;
  return (type === "devtmpfs" || type === "tmpfs") && (fields[3] ?? "").endsWith(`/${name}`);
}

function unescapePath(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_match, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
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
