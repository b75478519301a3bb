import { DriverError } from "../errors.js";
import type { CapacityRange } from "../pools/parameters/capacity-range.js";
import { type FsType, fsTypes, type Volume } from "../pools/volume/volume.js";
import type { Secrets } from "./mounts/device-mapping.js";
import { DeviceMounts, type NumberedDevice } from "./mounts/device-mounts.js";
import { findFault } from "./mounts/mount-fault.js";
import { resolveTargetPath } from "./mounts/target-path.js";
import type { NodeDependencies } from "./node-dependencies.js";

export interface ExpandRequest {
  volumeId: string;
  /** Where the volume is staged or published. */
  volumePath: string;
  range: CapacityRange | undefined;
  secrets: Secrets;
}

/**
 * Gives the users of a volume the size that its record has: device, mapping and file system grow to it, each of them only
 * when it is smaller. The record grows first, by ControllerExpandVolume. May be repeated; callers serialise per volume.
 */
export class VolumeExpander {
  constructor(private readonly dependencies: NodeDependencies) {}

  /** Returns the size of the volume. */
  async expand({ volumeId, volumePath, range, secrets }: ExpandRequest): Promise<bigint> {
    const { pools, devices } = this.dependencies;
    const volume = pools.getVolume(volumeId);
    assertReached(volume, range);
    await this.assertAt(volumePath, await devices.getStaged(volumeId));
    const device = await devices.grow(volume, secrets);
    await this.growFilesystem(device);
    return volume.sizeBytes;
  }

  // Kubelet names the device itself for a raw block volume, under a path of its own.
  private async assertAt(volumePath: string, device: NumberedDevice): Promise<void> {
    const { mounter } = this.dependencies;
    const mounts = await DeviceMounts.read(device, mounter);
    const entry = mounts.at(await resolveTargetPath(volumePath));
    if (entry !== undefined && mounts.shows(entry)) return;
    if ((await mounter.findDeviceNumber(volumePath)) === device.number) return;
    const message = `volume ${device.volumeId} is not at ${volumePath}: give a path where it is staged or published`;
    throw new DriverError("missing", message);
  }

  // Through a read-only mount nothing can grow; the next staging that may write does it then.
  private async growFilesystem(device: NumberedDevice): Promise<void> {
    const { mounter } = this.dependencies;
    const { writable } = await DeviceMounts.read(device, mounter);
    const fsType = fsTypes.find((known) => known === writable?.fsType);
    if (writable === undefined || fsType === undefined) return;
    const fault = await findFault(writable, mounter);
    if (fault === undefined) return await this.grow(fsType, device, writable.mountPoint);
    const message = `the file system of volume ${device.volumeId} at ${writable.mountPoint} cannot be used, ${fault}`;
    throw new DriverError("refused", `${message}: stop the pods that use it, then it is mounted anew and grows`);
  }

  private async grow(fsType: FsType, { path, volumeId }: NumberedDevice, mountPoint: string): Promise<void> {
    const { filesystems, logger } = this.dependencies;
    await filesystems.toolsOf(fsType).grow({ devicePath: path, mountPoint });
    logger.info({ volumeId, fsType, mountPoint }, "file system has the size of its volume");
  }
}

function assertReached({ id, sizeBytes }: Volume, range: CapacityRange | undefined): void {
  const { requiredBytes = 0n, limitBytes = sizeBytes } = range ?? {};
  if (requiredBytes <= sizeBytes && sizeBytes <= limitBytes) return;
  const asked = requiredBytes > sizeBytes ? `required_bytes ${requiredBytes}` : `limit_bytes ${limitBytes}`;
  const message = `volume ${id} has ${sizeBytes} bytes, which does not fit ${asked}`;
  throw new DriverError("out_of_range", `${message}: expand it by ControllerExpandVolume first`);
}
