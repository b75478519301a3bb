import { DriverError, toMessage } from "../errors.js";
import { parseMountFlags } from "../pools/parameters/mount-options.js";
import { defaultFsType, type FsType, type MountCapability, type Volume } from "../pools/volume/volume.js";
import type { MountEntry } from "../system/mountinfo.js";
import { isReadOnlyUse } from "./device-spec.js";
import { FilesystemPreparer } from "./filesystem-preparer.js";
import { shorten } from "./filesystems/check-report.js";
import { DeviceMounts, type NumberedDevice } from "./mounts/device-mounts.js";
import { findFault } from "./mounts/mount-fault.js";
import { createTarget, listElsewhere, resolveTargetPath } from "./mounts/target-path.js";
import { unmountGone, unmountTop } from "./mounts/unmounting.js";
import type { NodeDependencies } from "./node-dependencies.js";
import { listOtherOptions } from "./staged-options.js";

export interface FilesystemStageRequest {
  capability: MountCapability;
  stagingPath: string;
}

/** Mounts the file system of a volume at its staging path, made when there is none; or verifies the mount there. */
export class FilesystemStager {
  private readonly preparer: FilesystemPreparer;

  constructor(private readonly dependencies: NodeDependencies) {
    this.preparer = new FilesystemPreparer(dependencies);
  }

  async stage(volume: Volume, device: NumberedDevice, request: FilesystemStageRequest): Promise<void> {
    const place = await resolvePlace(volume, device, request);
    const mounts = await this.clear(place);
    const staged = mounts.at(place.path);
    if (staged !== undefined) {
      assertStaged(mounts, staged, place);
      // The attempt that mounted it may have been cut short before it had grown.
      return place.readOnly ? undefined : await this.grow(place);
    }
    await createTarget(place.path, "directory");
    // A file system that is mounted elsewhere, for a pod whose staging was taken away, is past preparing.
    if (mounts.own.length === 0) {
      await this.preparer.prepare(volume, device, { fsType: place.fsType, scratchPath: place.path });
    }
    await this.mount(place);
    if (!place.readOnly) await this.grow(place);
  }

  /** Takes away what devices that are gone have left there, and a file system of the volume that does not work any more. */
  private async clear({ device, path }: Place): Promise<DeviceMounts> {
    const { mounter, logger } = this.dependencies;
    await unmountGone(path, this.dependencies);
    for (;;) {
      const mounts = await DeviceMounts.read(device, mounter);
      const top = mounts.at(path);
      if (top === undefined) return mounts;
      const fault = mounts.shows(top) ? await findFault(top, mounter) : undefined;
      if (fault === undefined) return mounts;
      await assertUnused(mounts, top, fault);
      logger.warn({ volumeId: device.volumeId, path, source: top.source, fault }, "removing a mount, to make it anew");
      await unmountTop(top, mounter);
    }
  }

  private async mount(place: Place): Promise<void> {
    const { device, path, fsType, options } = place;
    const { mounter } = this.dependencies;
    await mounter.mount({ source: device.path, target: path, fsType, options }).catch(async (cause: unknown) => {
      const message = `cannot mount the ${fsType} file system of ${device.path}: ${shorten(toMessage(cause))}`;
      const report = await this.diagnose(place);
      throw new DriverError("internal", `${message}. A check that changes nothing says: ${report}`, { cause });
    });
    const mounts = await DeviceMounts.read(device, mounter);
    const mounted = mounts.at(path);
    if (mounted === undefined) throw new DriverError("internal", `mounted ${device.path}, but ${path} has no mount`);
    try {
      assertStaged(mounts, mounted, place);
    } catch (error) {
      if (mounts.shows(mounted)) await this.giveUp(mounted, device.volumeId);
      throw error;
    }
  }

  // The caller hears of the failure that led here; what stays behind is found by the next attempt.
  private async giveUp(mounted: MountEntry, volumeId: string): Promise<void> {
    const { mounter, logger } = this.dependencies;
    const path = mounted.mountPoint;
    await unmountTop(mounted, mounter).catch((err: unknown) =>
      logger.warn({ volumeId, path, err }, "mount of a failed staging not removed"),
    );
  }

  private async diagnose({ device, fsType }: Place): Promise<string> {
    const { filesystems, mounter } = this.dependencies;
    const { own } = await DeviceMounts.read(device, mounter);
    if (own.length > 0) return `nothing, because it is mounted at ${own[0]?.mountPoint}`;
    return await filesystems.toolsOf(fsType).diagnose(device.path);
  }

  // A device may have grown while nobody had it. Data that can be read is worth more than the room that is missing.
  private async grow({ device, path, fsType }: Place): Promise<void> {
    const { filesystems, logger } = this.dependencies;
    const { volumeId, path: devicePath } = device;
    await filesystems
      .toolsOf(fsType)
      .grow({ devicePath, mountPoint: path })
      .catch((err: unknown) => logger.error({ volumeId, err }, "the file system may be smaller than its volume"));
  }
}

interface Place {
  device: NumberedDevice;
  path: string;
  fsType: FsType;
  readOnly: boolean;
  options: string[];
}

async function resolvePlace(
  volume: Volume,
  device: NumberedDevice,
  { capability, stagingPath }: FilesystemStageRequest,
): Promise<Place> {
  const fsType = chooseFsType(volume, capability);
  const readOnly = isReadOnlyUse(capability);
  const flags = parseMountFlags(capability.mountFlags, fsType);
  // A pod may still have the file system of a device that is gone, which must not keep the volume from its next one.
  const uuidOption = fsType === "xfs" ? ["nouuid"] : [];
  const options = [...new Set([...(readOnly ? ["ro"] : []), ...uuidOption, ...flags])];
  return { device, path: await resolveTargetPath(stagingPath), fsType, readOnly, options };
}

function chooseFsType(volume: Volume, capability: MountCapability): FsType {
  if (capability.fsType !== undefined) return capability.fsType;
  const made = volume.capabilities.find((known) => known.accessType === "mount" && known.fsType !== undefined);
  return (made?.accessType === "mount" ? made.fsType : undefined) ?? defaultFsType;
}

// Pods keep what they have; making the file system anew below them would give the next ones another.
async function assertUnused(mounts: DeviceMounts, entry: MountEntry, fault: string): Promise<void> {
  const [other] = await listElsewhere(mounts.own, entry.mountPoint);
  if (other === undefined) return;
  const message = `the file system at ${entry.mountPoint} cannot be used, ${fault}, and ${other.mountPoint} shows it too`;
  throw new DriverError("refused", `${message}: stop the pods that use it, then it is mounted anew`);
}

function assertStaged(mounts: DeviceMounts, entry: MountEntry, place: Place): void {
  const { device, fsType, readOnly, options } = place;
  const { mountPoint } = entry;
  if (!mounts.shows(entry)) {
    const found = `${entry.source} (${entry.deviceNumber})`;
    const message = `${mountPoint} has a mount of ${found}, not of ${device.path} (${device.number}): unmount it`;
    throw new DriverError("refused", message);
  }
  const isReadOnly = entry.options.includes("ro");
  if (entry.fsType !== fsType || isReadOnly !== readOnly) {
    const found = `${entry.fsType}, ${isReadOnly ? "read-only" : "writable"}`;
    const asked = `${fsType}, ${readOnly ? "read-only" : "writable"}`;
    throw new DriverError("conflict", `${mountPoint} is staged as ${found}, asked for is ${asked}: unstage it first`);
  }
  const others = listOtherOptions(options, entry);
  if (others.length === 0) return;
  const message = `${mountPoint} is staged with other mount options than asked for (${others.join(", ")})`;
  throw new DriverError("conflict", `${message}: unstage it first`);
}
