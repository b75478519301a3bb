import { stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { FileJournal } from "../../engine/journal/journal.js";
import { isMappingName } from "../../node/mounts/mapping-name.js";
import { isAtOrBelow, type MountEntry } from "../../system/mountinfo.js";
import type { Finding } from "./finding.js";
import { type AbsentPool, type FoundPool, isFound } from "./found-pool.js";
import type { PoolPlace } from "./pool-command.js";
import type { PoolParts } from "./pool-outcome.js";

/** What is wrong with the devices of volumes, by the journal, and with their mounts. It takes a driver to repair it. */
export async function findDeviceFindings(
  candidates: ReadonlyArray<FoundPool | AbsentPool>,
  place: PoolPlace,
  parts: PoolParts,
): Promise<Finding[]> {
  return [...(await journalFindings(candidates, place)), ...(await mountFindings(place, parts))];
}

async function journalFindings(
  candidates: ReadonlyArray<FoundPool | AbsentPool>,
  { stateDir }: PoolPlace,
): Promise<Finding[]> {
  const { entries, problems } = await new FileJournal(join(stateDir, "engine", "devices")).readAll();
  const known = new Set(candidates.filter(isFound).flatMap(idsOf));
  // Its volume may be in a pool that is not there.
  const state = candidates.every(isFound) ? "problem" : "note";
  const findings: Finding[] = problems.map(({ volumeId: id, reason }) => {
    return { kind: "journal-unreadable", id, message: reason, state: "problem" };
  });
  for (const { volumeId: id, deviceId, image } of entries) {
    if (known.has(id)) continue;
    const device = deviceId === undefined ? "a device" : `/dev/ublkb${deviceId}`;
    const message = `${device} is in the journal, over ${image.path}, and no pool has the volume: see ublk-csi engine --dry-run`;
    findings.push({ kind: "device-without-volume", id, message, state });
  }
  return findings;
}

function idsOf({ content }: FoundPool): string[] {
  return [...content.volumes, ...content.unusable].map(({ id }) => id).concat(content.orphans);
}

async function mountFindings({ kubeletDir }: PoolPlace, { readMounts, sysfs }: PoolParts): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const mount of await readMounts()) {
    if (!isAtOrBelow(mount.mountPoint, kubeletDir)) continue;
    const device = findDevice(mount);
    if (device === undefined || (await isThere(device, mount, sysfs))) continue;
    const message = `${mount.mountPoint} is a mount of ${device}, which is gone: its pod sees errors until it is made anew`;
    findings.push({ kind: "mount-without-device", message, state: "problem" });
  }
  return findings;
}

/** The device that a mount shows, or whose node it is, when that is one of a volume. */
function findDevice({ source, root, fsType }: MountEntry): string | undefined {
  if (/^\/dev\/ublkb[0-9]+$/.test(source) || isMappingName(basename(source))) return source;
  const [, node] = fsType === "devtmpfs" ? (/^\/(ublkb[0-9]+)(\/\/deleted)?$/.exec(root) ?? []) : [];
  return node === undefined ? undefined : `/dev/${node}`;
}

// A mapping has another name in sysfs, and btrfs a number that is no device's.
async function isThere(device: string, { deviceNumber, fsType, root }: MountEntry, sysfs: string): Promise<boolean> {
  if (root.endsWith("//deleted")) return false;
  const isNumbered = fsType !== "btrfs" && fsType !== "devtmpfs";
  const isMapping = device.startsWith("/dev/mapper/");
  const byName = isMapping ? device : join(sysfs, "class/block", basename(device));
  return await stat(isNumbered ? join(sysfs, "dev/block", deviceNumber) : byName).then(
    () => true,
    () => false,
  );
}
