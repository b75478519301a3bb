import { DriverError } from "../errors.js";
import { explainMismatch } from "../pools/volume/capability-check.js";
import type { Volume, VolumeCapability } from "../pools/volume/volume.js";
import { isVolumeId } from "../pools/volume/volume-id.js";
import { FilesystemStager } from "./filesystem-stager.js";
import type { Secrets } from "./mounts/device-mapping.js";
import { DeviceMounts } from "./mounts/device-mounts.js";
import { isSamePlace, listElsewhere, resolveTargetPath } from "./mounts/target-path.js";
import { unmountAll, unmountGone } from "./mounts/unmounting.js";
import type { NodeDependencies } from "./node-dependencies.js";

export interface StageRequest {
  volumeId: string;
  stagingPath: string;
  capability: VolumeCapability;
  secrets: Secrets;
}

/** Unstaging takes no longer for the sake of space. */
const trimMsMax = 30_000;

/**
 * Gives a volume its device, and its file system a mount, once per node; and takes them away again. Both verbs may be
 * repeated. They trust what the kernel reports at that moment and nothing else. Callers serialise them per volume.
 */
export class VolumeStager {
  private readonly filesystemStager: FilesystemStager;

  constructor(private readonly dependencies: NodeDependencies) {
    this.filesystemStager = new FilesystemStager(dependencies);
  }

  /** In this order: device, mapping, file system, mount. What a failure leaves of them is taken away again. */
  async stage({ volumeId, stagingPath, capability, secrets }: StageRequest): Promise<void> {
    const { pools, devices } = this.dependencies;
    const volume = pools.getVolume(volumeId);
    assertMadeFor(volume, capability);
    // The kernel keeps a dead device for as long as it is mounted, and the volume would not get another.
    await unmountGone(await resolveTargetPath(stagingPath), this.dependencies);
    const hadDevice = await devices.exists(volume.id);
    try {
      const device = await devices.open(volume, capability, secrets);
      if (capability.accessType === "mount") {
        await this.filesystemStager.stage(volume, device, { capability, stagingPath });
      }
    } catch (error) {
      if (!hadDevice) await this.giveUp(volume.id);
      throw error;
    }
  }

  /** A volume that is unknown or not staged is a success. One that is still published stays staged. */
  async unstage(volumeId: string, stagingPath: string): Promise<void> {
    const { devices, mounter, trimmer } = this.dependencies;
    const path = await resolveTargetPath(stagingPath);
    if (!isVolumeId(volumeId)) return await unmountAll(path, mounter);
    await this.assertUnpublished(volumeId, path);
    await trimmer.without(volumeId, async () => {
      await this.trim(volumeId, path);
      await unmountAll(path, mounter);
    });
    await devices.close(volumeId);
  }

  private async trim(volumeId: string, path: string): Promise<void> {
    const { pools, devices, mounter, trimmer } = this.dependencies;
    const volume = pools.peekVolume(volumeId);
    if (volume?.parameters.trimAtUnstage !== true) return;
    const device = await devices.find(volumeId);
    if (device?.state !== "live") return;
    const { writable } = await DeviceMounts.read(device, mounter);
    if (writable === undefined || !(await isSamePlace(writable.mountPoint, path))) return;
    await trimmer.trimFinally({ volume, mountPoint: path, timeoutMs: trimMsMax });
  }

  private async assertUnpublished(volumeId: string, stagingPath: string): Promise<void> {
    const { devices, mounter } = this.dependencies;
    const device = await devices.find(volumeId);
    if (device === undefined) return;
    const { own } = await DeviceMounts.read(device, mounter);
    const [published] = await listElsewhere(own, stagingPath);
    if (published === undefined) return;
    throw new DriverError(
      "refused",
      `volume ${volumeId} is still published at ${published.mountPoint}: unpublish it first`,
    );
  }

  // The caller hears of the failure that led here; a device that does not go away is found by the next attempt.
  private async giveUp(volumeId: string): Promise<void> {
    const { devices, logger } = this.dependencies;
    await devices
      .close(volumeId)
      .catch((err: unknown) => logger.warn({ volumeId, err }, "device of a failed staging not removed"));
  }
}

/** A volume is used in the ways that it was made for. */
export function assertMadeFor(volume: Volume, capability: VolumeCapability): void {
  if (volume.ephemeral !== undefined) {
    throw new DriverError("refused", `volume ${volume.id} is an inline volume: it is published to its pod only`);
  }
  const mismatch = explainMismatch(volume, [capability]);
  if (mismatch !== undefined) throw new DriverError("refused", mismatch);
}
