import { readFileSync } from "node:fs";
import { stat } from "node:fs/promises";
import { basename } from "node:path";
import { runCommand } from "./run-command.js";

/** One line of mountinfo(5), as far as the tests look at it. */
export interface Mount {
  mountPoint: string;
  fsType: string;
  source: string;
  options: string[];
}

/** Every mount that this process sees, in the order of mounting. */
export function readMounts(): Mount[] {
  return readFileSync("/proc/self/mountinfo", "utf8").trimEnd().split("\n").map(parseMount);
}

export function findMount(mountPoint: string): Mount | undefined {
  return readMounts().findLast((mount) => mount.mountPoint === mountPoint);
}

export function findMountsBelow(directory: string): Mount[] {
  return readMounts().filter(({ mountPoint }) => `${mountPoint}/`.startsWith(`${directory}/`));
}

/** The N of the /dev/ublkbN that is mounted here, or whose node is published here. */
export async function findDeviceId(path: string): Promise<number> {
  const source = findMount(path)?.source ?? "";
  const name = (await stat(path)).isDirectory() ? basename(source) : await findBlockDeviceName(path);
  const id = /^ublkb(\d+)$/.exec(name)?.[1];
  if (id === undefined) throw new Error(`${path} leads to ${name || "no device"}, expected a ublk device`);
  return Number(id);
}

async function findBlockDeviceName(path: string): Promise<string> {
  const numbers = (await runCommand("stat", ["-L", "--format=%Hr:%Lr", path])).trim();
  return basename(await runCommand("readlink", [`/sys/dev/block/${numbers}`])).trim();
}

function parseMount(line: string): Mount {
  const fields = line.split(" ");
  const separator = fields.indexOf("-");
  const [fsType = "", source = "", superOptions = ""] = fields.slice(separator + 1);
  const options = [...(fields[5] ?? "").split(","), ...superOptions.split(",")];
  return { mountPoint: unescapePath(fields[4] ?? ""), fsType, source, options };
}

function unescapePath(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_match, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
