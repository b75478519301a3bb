import type { VolumeFinding } from "../health/finding.js";
import { readErrorCount } from "./filesystem-errors.js";
import { DeviceMounts } from "./mounts/device-mounts.js";
import { findFault } from "./mounts/mount-fault.js";
import type { NodeDependencies } from "./node-dependencies.js";

/** What is wrong with the file system of a volume where it is mounted; nothing when it is not. */
export async function checkFilesystem(
  volumeId: string,
  { devices, mounter }: Pick<NodeDependencies, "devices" | "mounter">,
  sysfs = "/sys",
): Promise<VolumeFinding[]> {
  const device = await devices.find(volumeId);
  if (device === undefined) return [];
  const mounts = await DeviceMounts.read(device, mounter);
  const [mount] = mounts.entries.filter((entry) => mounts.shows(entry));
  if (mount === undefined) return [];
  const fault = await findFault(mount, mounter);
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
