import { DriverError } from "../errors.js";
import type { VolumeFinding } from "../health/finding.js";
import type { MountEntry } from "../system/mountinfo.js";
import { readErrorCount } from "./filesystem-errors.js";
import { DeviceMounts, type NumberedDevice } from "./mounts/device-mounts.js";
import { findFault } from "./mounts/mount-fault.js";
import type { Mounter } from "./mounts/mounter.js";
import { findMount, resolveTargetPath } from "./mounts/target-path.js";
import type { NodeDependencies } from "./node-dependencies.js";

type Parts = Pick<NodeDependencies, "devices" | "mounter">;

/**
 * What is wrong with the mounts of a volume: at `paths`, which are the volume's, with what is there of another device, as of
 * one that the volume had before; and with its file system, wherever that is mounted. Nothing when it is not mounted.
 */
export async function checkMounts(
  volumeId: string,
  paths: readonly string[],
  { devices, mounter }: Parts,
  sysfs = "/sys",
): Promise<VolumeFinding[]> {
  const device = await devices.find(volumeId);
  const mounts = device && (await DeviceMounts.read(device, mounter));
  const stale = await findStale(paths, mounts?.entries ?? (await mounter.list()), mounts?.own ?? []);
  if (stale !== undefined) return [toFinding(stale)];
  return device && mounts ? await checkFilesystem(device, mounts, { mounter, sysfs }) : [];
}

async function findStale(paths: readonly string[], entries: readonly MountEntry[], own: readonly MountEntry[]) {
  const resolved = await Promise.all(paths.map(resolveTargetPath));
  const seen = resolved.map((path) => findMount(entries, path)).filter((entry) => entry !== undefined);
  return seen.find((entry) => !own.includes(entry));
}

function toFinding({ mountPoint, source, root }: MountEntry): VolumeFinding {
  const what = root === "/" ? source : `${source}${root}`;
  const message = `${mountPoint} has a mount of ${what}, which is no device of the volume now: unstage and stage it again`;
  return { status: "inaccessible", reason: "DeviceDead", message };
}

async function checkFilesystem(
  device: NumberedDevice,
  mounts: DeviceMounts,
  { mounter, sysfs }: { mounter: Mounter; sysfs: string },
): Promise<VolumeFinding[]> {
  const [mount] = mounts.entries.filter((entry) => mounts.shows(entry));
  if (mount === undefined) return [];
  const fault = await findFault(mount, mounter).catch(toSilence);
  const counted = await readErrorCount(mount.fsType, device.number, sysfs);
  const findings: VolumeFinding[] = [];
  if (fault !== undefined) {
    const message = `the ${mount.fsType} at ${mount.mountPoint} cannot be used: ${fault}`;
    findings.push({ status: "inaccessible", reason: "FilesystemUnusable", message });
  }
  if (counted !== undefined) {
    const message = `${mount.fsType} has counted ${counted.what} on ${device.path}: ${counted.remedy}`;
    findings.push({ status: "degraded", reason: "FilesystemErrors", message });
  }
  return findings;
}

/** Of a file system that does not answer, what the error says of it. */
function toSilence(error: unknown): string {
  if (error instanceof DriverError && error.code === "unavailable") return error.message;
  throw error;
}
