import { DriverError } from "../errors.js";
import type { Volume, VolumeCapability } from "../pools/volume/volume.js";
import type { MountEntry } from "../system/mountinfo.js";
import { isReadOnlyUse } from "./device-spec.js";
import { DeviceMounts, type NumberedDevice } from "./mounts/device-mounts.js";
import { findFault } from "./mounts/mount-fault.js";
import { createTarget, listElsewhere, removeTarget, resolveTargetPath } from "./mounts/target-path.js";
import { unmountAll, unmountGone } from "./mounts/unmounting.js";
import type { NodeDependencies } from "./node-dependencies.js";
import { PublishedNodes } from "./published-nodes.js";
import { assertMayPublish } from "./sole-publication.js";
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
    const { pools, devices } = this.dependencies;
    const volume = pools.getVolume(request.volumeId);
    assertMadeFor(volume, request.capability);
    const device = await devices.getStaged(request.volumeId);
    const place = await this.resolvePlace(request, device);
    const mounts = await this.clear(place);
    const existing = mounts.at(place.target);
    if (existing !== undefined) return await this.assertPublished(mounts, existing, place);
    await this.assertStaged(mounts, place);
    const others = await listElsewhere(mounts.own, place.staging);
    await assertMayPublish(volume, { accessMode: request.capability.accessMode, others, pools });
    if (place.kind === "file") await this.prepareDevice(volume, place, { mounts, others });
    else await this.setGroup(others, place, request.capability);
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

  /** Takes away what devices that are gone have left at the target, and returns the mounts that are there then. */
  private async clear({ device, target }: Place): Promise<DeviceMounts> {
    const { mounter } = this.dependencies;
    // Pods that still see a device which is gone get nothing but errors from it.
    await unmountGone(target, this.dependencies);
    const mounts = await DeviceMounts.read(device, mounter);
    const existing = mounts.at(target);
    if (existing === undefined || !mounts.isLeftNode(existing)) return mounts;
    // The volume's device has the number that its last one had: the node serves, and stays for those who have it open.
    await mounter.unmount(target).catch(() => undefined);
    return await DeviceMounts.read(device, mounter);
  }

  private async bind(place: Place): Promise<void> {
    const { mounter } = this.dependencies;
    const { source, target, readOnly } = place;
    const isNew = await createTarget(target, place.kind);
    try {
      await mounter.bind({ source, target, readOnly });
      const mounts = await DeviceMounts.read(place.device, mounter);
      const mounted = mounts.at(target);
      if (mounted === undefined) throw new DriverError("internal", `bound ${source}, but ${target} has no mount`);
      await this.assertPublished(mounts, mounted, place);
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

  // Without this check a pod would get an empty directory of the node's own disk after a reboot.
  private async assertStaged(mounts: DeviceMounts, { device, kind, staging }: Place): Promise<void> {
    if (kind === "file") return;
    const entry = mounts.at(staging);
    if (entry === undefined || !mounts.shows(entry)) {
      const found = entry === undefined ? "has no mount" : `has a mount of ${entry.source}`;
      throw new DriverError("refused", `${staging} ${found}, expected is ${device.path}: stage the volume first`);
    }
    const fault = await findFault(entry, this.dependencies.mounter);
    if (fault === undefined) return;
    throw new DriverError(
      "refused",
      `the file system at ${staging} cannot be used, ${fault}: unstage and stage it again`,
    );
  }

  private async assertPublished(mounts: DeviceMounts, entry: MountEntry, place: Place): Promise<void> {
    const { device, target, kind, readOnly } = place;
    const isFile = kind === "file";
    const number = isFile ? await this.dependencies.mounter.findDeviceNumber(target) : entry.deviceNumber;
    if (isFile ? number !== device.number : !mounts.shows(entry)) {
      const message = `${target} has a mount of ${entry.source} (${number ?? "no device"}), not of ${device.path}`;
      throw new DriverError("conflict", `${message} (${device.number}): unpublish it first`);
    }
    const isReadOnly = entry.options.includes("ro");
    if (isReadOnly === readOnly) return;
    throw new DriverError("conflict", `${target} is published ${describeAccess(isReadOnly)}: unpublish it first`);
  }

  // Pods that use the files at the moment could put a link in the way of the change, and would lose their own access.
  private async setGroup(others: readonly MountEntry[], { staging, readOnly }: Place, capability: VolumeCapability) {
    const { filesystems } = this.dependencies;
    const gid = capability.accessType === "mount" ? capability.mountGroupId : undefined;
    if (gid === undefined || readOnly || (await filesystems.isGivenToGroup(staging, gid))) return;
    const [other] = others;
    if (other === undefined) return await filesystems.giveToGroup(staging, gid);
    const message = `${other.mountPoint} shows the volume to a pod with another group than ${gid}`;
    throw new DriverError("refused", `${message}: give both pods the same fsGroup, or stop the other one`);
  }

  private async prepareDevice(volume: Volume, place: Place, { mounts, others }: Found): Promise<void> {
    const { pools, logger } = this.dependencies;
    await this.setDeviceAccess(others, place);
    // As in a pool that is full. What is not noted is taken for another volume's, which only refuses more.
    await new PublishedNodes(volume, pools)
      .note(place.target, (path) => mounts.at(path) !== undefined)
      .catch((err: unknown) => logger.warn({ volumeId: volume.id, err }, "path of a published node not noted"));
  }

  // A read-only bind mount does not keep anybody from writing to a device node: the device itself has to refuse.
  private async setDeviceAccess(others: readonly MountEntry[], { device, target, readOnly }: Place): Promise<void> {
    const other = others.find((entry) => entry.options.includes("ro") !== readOnly);
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

interface Found {
  mounts: DeviceMounts;
  /** The publications that there are. */
  others: readonly MountEntry[];
}

interface Place {
  device: NumberedDevice;
  kind: "directory" | "file";
  staging: string;
  source: string;
  target: string;
  readOnly: boolean;
}

function describeAccess(readOnly: boolean): string {
  return readOnly ? "read-only" : "writable";
}
