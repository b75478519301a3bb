import { DriverError } from "../errors.js";
import type { VolumeCapability } from "../pools/volume.js";
import type { MountEntry } from "../system/mountinfo.js";
import { findDeviceMounts, type NumberedDevice, unmountAll } from "./device-mounts.js";
import { isReadOnlyUse } from "./device-spec.js";
import type { NodeDependencies } from "./node-dependencies.js";
import { createTarget, findMount, removeTarget, resolveTargetPath } from "./target-path.js";
import { assertMadeFor } from "./volume-stager.js";

export interface PublishRequest {
  volumeId: string;
  stagingPath: string;
  targetPath: string;
  capability: VolumeCapability;
  readOnly: boolean;
}

/**
 * Shows a staged volume to one pod, as a directory or as a block device node, and takes it away again. Both verbs may
 * be repeated. Nothing is published that is not the volume's own device. Callers serialise the verbs per volume.
 */
export class VolumePublisher {
  constructor(private readonly dependencies: NodeDependencies) {}

  async publish(request: PublishRequest): Promise<void> {
    const { pools, mounter, devices } = this.dependencies;
    assertMadeFor(pools.getVolume(request.volumeId), request.capability);
    const device = await devices.getStaged(request.volumeId);
    const place = await this.resolvePlace(request, device);
    const mounts = await mounter.list();
    const existing = findMount(mounts, place.target);
    if (existing !== undefined) return await this.assertPublished(existing, place);
    assertStaged(mounts, place);
    assertSoleUser(mounts, request, place);
    if (place.kind === "file") await this.setDeviceAccess(mounts, place);
    await this.bind(place);
  }

  /** A target that is not published is a success, whatever the volume; what is in the way is never deleted. */
  async unpublish(targetPath: string): Promise<void> {
    const { mounter } = this.dependencies;
    const target = await resolveTargetPath(targetPath);
    await unmountAll(target, mounter);
    await removeTarget(target, mounter);
  }

  private async resolvePlace(request: PublishRequest, device: NumberedDevice): Promise<Place> {
    const staging = await resolveTargetPath(request.stagingPath);
    const isBlock = request.capability.accessType === "block";
    return {
      device,
      kind: isBlock ? "file" : "directory",
      staging,
      source: isBlock ? device.path : staging,
      target: await resolveTargetPath(request.targetPath),
      readOnly: request.readOnly || isReadOnlyUse(request.capability),
    };
  }

  private async bind(place: Place): Promise<void> {
    const { mounter } = this.dependencies;
    const { source, target, readOnly } = place;
    const isNew = await createTarget(target, place.kind);
    try {
      await mounter.bind({ source, target, readOnly });
      const mounted = findMount(await mounter.list(), target);
      if (mounted === undefined) throw new DriverError("internal", `bound ${source}, but ${target} has no mount`);
      await this.assertPublished(mounted, place);
    } catch (error) {
      await this.giveUp(target, isNew);
      throw error;
    }
  }

  // The caller hears of the failure that led here; what stays behind is found by the next attempt.
  private async giveUp(target: string, isNew: boolean): Promise<void> {
    const { mounter, logger } = this.dependencies;
    try {
      await unmountAll(target, mounter);
      if (isNew) await removeTarget(target, mounter);
    } catch (err) {
      logger.warn({ target, err }, "target of a failed publication not removed");
    }
  }

  private async assertPublished(entry: MountEntry, place: Place): Promise<void> {
    const { device, target, kind, readOnly } = place;
    const isFile = kind === "file";
    const number = isFile ? await this.dependencies.mounter.findDeviceNumber(target) : entry.deviceNumber;
    if (number !== device.number) {
      const message = `${target} has a mount of ${entry.source} (${number ?? "no device"}), not of ${device.path}`;
      throw new DriverError("conflict", `${message} (${device.number}): unpublish it first`);
    }
    const isReadOnly = entry.options.includes("ro");
    if (isReadOnly === readOnly) return;
    throw new DriverError("conflict", `${target} is published ${describeAccess(isReadOnly)}: unpublish it first`);
  }

  // A read-only bind mount does not keep anybody from writing to a device node: the device itself has to refuse.
  private async setDeviceAccess(mounts: readonly MountEntry[], { device, target, readOnly }: Place): Promise<void> {
    const other = findDeviceMounts(mounts, device).find((entry) => entry.options.includes("ro") !== readOnly);
    if (other !== undefined) {
      const message = `volume ${device.volumeId} is published ${describeAccess(!readOnly)} at ${other.mountPoint}`;
      throw new DriverError(
        "refused",
        `${message}: a block device cannot be ${describeAccess(readOnly)} at ${target} too`,
      );
    }
    if (!device.readOnly) await this.dependencies.mounter.setDeviceReadOnly(device.path, readOnly);
  }
}

interface Place {
  device: NumberedDevice;
  kind: "directory" | "file";
  staging: string;
  source: string;
  target: string;
  readOnly: boolean;
}

// Without this check a pod would get an empty directory of the node's own disk after a reboot.
function assertStaged(mounts: readonly MountEntry[], { device, kind, staging }: Place): void {
  if (kind === "file") return;
  const entry = findMount(mounts, staging);
  if (entry?.deviceNumber === device.number) return;
  const found = entry === undefined ? "has no mount" : `has a mount of ${entry.source}`;
  throw new DriverError("refused", `${staging} ${found}, expected is ${device.path}: stage the volume first`);
}

function assertSoleUser(mounts: readonly MountEntry[], { capability }: PublishRequest, place: Place): void {
  if (capability.accessMode !== "SINGLE_NODE_SINGLE_WRITER") return;
  const other = findDeviceMounts(mounts, place.device).find((entry) => entry.mountPoint !== place.staging);
  if (other === undefined) return;
  const message = `volume ${place.device.volumeId} is published at ${other.mountPoint}`;
  throw new DriverError("refused", `${message}, and its access mode SINGLE_NODE_SINGLE_WRITER allows one place only`);
}

function describeAccess(readOnly: boolean): string {
  return readOnly ? "read-only" : "writable";
}
