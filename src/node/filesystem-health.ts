import { readFile, realpath } from "node:fs/promises";
import { basename, join } from "node:path";
import { hasErrno } from "../errors.js";
import type { VolumeFinding } from "../health/finding.js";
import type { MountEntry } from "../system/mountinfo.js";
import { DeviceMounts } from "./device-mounts.js";
import { findFault } from "./mount-fault.js";
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
  const errorCount = await readErrorCount(mount, sysfs);
  const findings: VolumeFinding[] = [];
  if (fault !== undefined) {
    const message = `the ${mount.fsType} at ${mount.mountPoint} cannot be used: ${fault}`;
    findings.push({ status: "inaccessible", reason: "FilesystemUnusable", message });
  }
  if (errorCount > 0) {
    const message = `ext4 has counted ${errorCount} errors on ${device.path}: have it checked, by staging it again`;
    findings.push({ status: "degraded", reason: "FilesystemErrors", message });
  }
  return findings;
}

/** What ext4 keeps in its superblock until a check finds it clean. Other file systems shut down instead of counting. */
async function readErrorCount({ fsType, deviceNumber }: MountEntry, sysfs: string): Promise<number> {
  if (fsType !== "ext4") return 0;
  try {
    // The name that the kernel has for the device, which a mapping is not called by elsewhere.
    const deviceName = basename(await realpath(join(sysfs, "dev/block", deviceNumber)));
    return Number(await readFile(join(sysfs, "fs/ext4", deviceName, "errors_count"), "utf8"));
  } catch (error) {
    if (hasErrno(error, "ENOENT")) return 0;
    throw error;
  }
}
