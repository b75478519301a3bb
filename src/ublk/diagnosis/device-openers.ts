/** The part of the machine's reader that this file needs. */
interface ProcessReader {
  readText(path: string): Promise<string | undefined>;
  readNames(path: string): Promise<string[]>;
  readLink(path: string): Promise<string | undefined>;
  readDeviceNumber(path: string): Promise<string | undefined>;
}

/** The text of mountinfo(5) of one mount namespace. */
export interface MountSpace {
  mountInfo: string;
}

/** The ids of all processes that /proc shows. */
export async function listProcesses(reader: Pick<ProcessReader, "readNames">): Promise<string[]> {
  return (await reader.readNames("/proc")).filter((name) => /^\d+$/.test(name));
}

/** Each mount namespace once, our own first. */
export async function readMountSpaces(processes: readonly string[], reader: ProcessReader): Promise<MountSpace[]> {
  const spaces = new Map<string, MountSpace>();
  for (const process of ["self", ...processes]) {
    const space = (await reader.readLink(`/proc/${process}/ns/mnt`)) ?? (process === "self" ? "self" : undefined);
    if (space === undefined || spaces.has(space)) continue;
    const mountInfo = await reader.readText(`/proc/${process}/mountinfo`);
    if (mountInfo !== undefined) spaces.set(space, { mountInfo });
  }
  return [...spaces.values()];
}

/** The processes that have the device `number` open, as `name (id)`. `nodes` are the paths of its node. */
export async function findOpeners(
  processes: readonly string[],
  nodes: ReadonlySet<string>,
  number: string | undefined,
  reader: ProcessReader,
): Promise<string[]> {
  const openers: string[] = [];
  for (const process of processes) {
    if (!(await hasOpen(process, nodes, number, reader))) continue;
    const name = (await reader.readText(`/proc/${process}/comm`))?.trim() ?? "?";
    openers.push(`${name} (${process})`);
  }
  return openers;
}

async function hasOpen(
  process: string,
  nodes: ReadonlySet<string>,
  number: string | undefined,
  reader: ProcessReader,
): Promise<boolean> {
  const folder = `/proc/${process}/fd`;
  const paths = (await reader.readNames(folder)).map((fd) => `${folder}/${fd}`);
  // Together: an engine alone has several descriptors for each of its devices.
  const targets = await Promise.all(paths.map((path) => reader.readLink(path)));
  for (const [position, path] of paths.entries()) {
    const target = targets[position];
    // Only what can be a device node is looked at: a stat of another file may wait for a server that is gone.
    if (target === undefined || !(target.startsWith("/dev/") || nodes.has(target))) continue;
    if (number === undefined ? nodes.has(target) : (await reader.readDeviceNumber(path)) === number) {
      return true;
    }
  }
  return false;
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
  // One that outlived its device ends with //deleted: of which device it was its name does not tell.
  return (type === "devtmpfs" || type === "tmpfs") && (fields[3] ?? "").endsWith(`/${name}`);
}

function unescapePath(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_match, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
