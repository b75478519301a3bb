import type { BlockDevices } from "../engine/block-devices.js";
import { DriverError } from "../errors.js";
import type { Logger } from "../log.js";
import { explainMismatch } from "../pools/capability-check.js";
import { detachDevice } from "../pools/detach.js";
import type { Pools } from "../pools/pools.js";
import type { FsType, MountCapability, Volume, VolumeCapability } from "../pools/volume.js";
import { isVolumeId } from "../pools/volume-id.js";
import type { MountEntry } from "../system/mountinfo.js";
import { findDeviceMounts, type NumberedDevice, numberDevice, unmountAll } from "./device-mounts.js";
import { isReadOnlyUse, toDeviceSpec } from "./device-spec.js";
import type { Filesystems } from "./filesystems.js";
import type { Mounter } from "./mounter.js";
import { createTarget, findMount, resolveTargetPath } from "./target-path.js";

export interface NodeDependencies {
  pools: Pools;
  blockDevices: BlockDevices;
  mounter: Mounter;
  filesystems: Filesystems;
  logger: Logger;
}

export interface StageRequest {
  volumeId: string;
  stagingPath: string;
  capability: VolumeCapability;
}

const detachWaitMsMax = 5_000;

/**
 * Gives a volume its device, and its file system a mount, once per node; and takes them away again. Both verbs may be
 * repeated. They trust what the kernel reports at that moment and nothing else. Callers serialise them per volume.
 */
export class VolumeStager {
  constructor(private readonly dependencies: NodeDependencies) {}

  async stage(request: StageRequest): Promise<void> {
    const { pools, blockDevices, mounter } = this.dependencies;
    const volume = pools.getVolume(request.volumeId);
    assertMadeFor(volume, request.capability);
    const hadDevice = (await blockDevices.find(volume.id)) !== undefined;
    const device = await blockDevices.attach(toDeviceSpec(volume, pools.poolOf(volume), request.capability));
    try {
      const numbered = await numberDevice(device, mounter);
      const { capability, stagingPath } = request;
      if (capability.accessType === "mount") await this.stageFilesystem(volume, numbered, { capability, stagingPath });
    } catch (error) {
      if (!hadDevice) await this.giveUp(volume.id);
      throw error;
    }
  }

  /** A volume that is unknown or not staged is a success. One that is still published stays staged. */
  async unstage(volumeId: string, stagingPath: string): Promise<void> {
    const { blockDevices, mounter } = this.dependencies;
    const path = await resolveTargetPath(stagingPath);
    if (!isVolumeId(volumeId)) return await unmountAll(path, mounter);
    await this.assertUnpublished(volumeId, path);
    await unmountAll(path, mounter);
    await detachDevice(volumeId, { blockDevices, waitMsMax: detachWaitMsMax });
  }

  private async stageFilesystem(
    volume: Volume,
    device: NumberedDevice,
    { capability, stagingPath }: { capability: MountCapability; stagingPath: string },
  ): Promise<void> {
    const { mounter } = this.dependencies;
    const path = await resolveTargetPath(stagingPath);
    const fsType = chooseFsType(volume, capability);
    const expected = { device, fsType, readOnly: isReadOnlyUse(capability) };
    const staged = findMount(await mounter.list(), path);
    if (staged !== undefined) return assertStaged(staged, expected);
    await createTarget(path, "directory");
    await this.prepareFilesystem(volume, device, fsType);
    const options = [...new Set([...(expected.readOnly ? ["ro"] : []), ...capability.mountFlags])];
    await mounter.mount({ source: device.path, target: path, fsType, options });
    const mounted = findMount(await mounter.list(), path);
    if (mounted === undefined) throw new DriverError("internal", `mounted ${device.path}, but ${path} has no mount`);
    assertStaged(mounted, expected);
  }

  /** Formats a blank device, and only a blank one, or one whose formatting a crash has cut short. */
  private async prepareFilesystem(volume: Volume, device: NumberedDevice, fsType: FsType): Promise<void> {
    const { filesystems, pools, logger } = this.dependencies;
    const mark = pools.poolOf(volume).formatMark(volume.id);
    const content = await filesystems.probe(device.path);
    if (await mark.isSet()) {
      logger.warn(
        { volumeId: volume.id, deviceId: device.deviceId, content },
        "formatting was cut short, starting over",
      );
      await filesystems.wipe(device.path);
    } else if (content === fsType) {
      return;
    } else if (content !== undefined) {
      const message = `${device.path} of volume ${volume.id} holds ${content}, asked for is ${fsType}: not formatted`;
      throw new DriverError("refused", message);
    }
    logger.info({ volumeId: volume.id, deviceId: device.deviceId, fsType }, "formatting a blank device");
    await mark.set();
    await filesystems.format(device.path, fsType, { discard: volume.parameters.provisioning === "thin" });
    await mark.clear();
  }

  private async assertUnpublished(volumeId: string, stagingPath: string): Promise<void> {
    const { blockDevices, mounter } = this.dependencies;
    const device = await blockDevices.find(volumeId);
    if (device === undefined) return;
    const number = await mounter.findDeviceNumber(device.path);
    if (number === undefined) return;
    const mounts = findDeviceMounts(await mounter.list(), { ...device, number });
    const published = mounts.find((entry) => entry.mountPoint !== stagingPath);
    if (published === undefined) return;
    throw new DriverError(
      "refused",
      `volume ${volumeId} is still published at ${published.mountPoint}: unpublish it first`,
    );
  }

  // The caller hears of the failure that led here; a device that does not go away is found by the next attempt.
  private async giveUp(volumeId: string): Promise<void> {
    const { blockDevices, logger } = this.dependencies;
    await detachDevice(volumeId, { blockDevices, waitMsMax: detachWaitMsMax }).catch((err: unknown) =>
      logger.warn({ volumeId, err }, "device of a failed staging not removed"),
    );
  }
}

/** A volume is used in the ways that it was made for. */
export function assertMadeFor(volume: Volume, capability: VolumeCapability): void {
  const mismatch = explainMismatch(volume, [capability]);
  if (mismatch !== undefined) throw new DriverError("refused", mismatch);
}

function chooseFsType(volume: Volume, capability: MountCapability): FsType {
  if (capability.fsType !== undefined) return capability.fsType;
  const made = volume.capabilities.find((known) => known.accessType === "mount" && known.fsType !== undefined);
  return (made?.accessType === "mount" ? made.fsType : undefined) ?? "ext4";
}

interface ExpectedMount {
  device: NumberedDevice;
  fsType: FsType;
  readOnly: boolean;
}

function assertStaged(entry: MountEntry, { device, fsType, readOnly }: ExpectedMount): void {
  const { mountPoint } = entry;
  if (entry.deviceNumber !== device.number) {
    const found = `${entry.source} (${entry.deviceNumber})`;
    const message = `${mountPoint} has a mount of ${found}, not of ${device.path} (${device.number}): unmount it`;
    throw new DriverError("refused", message);
  }
  const isReadOnly = entry.options.includes("ro");
  if (entry.fsType === fsType && isReadOnly === readOnly) return;
  const found = `${entry.fsType}, ${isReadOnly ? "read-only" : "writable"}`;
  const asked = `${fsType}, ${readOnly ? "read-only" : "writable"}`;
  throw new DriverError("conflict", `${mountPoint} is staged as ${found}, asked for is ${asked}: unstage it first`);
}
