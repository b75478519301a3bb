import type { BlockDevice, BlockDevices } from "../engine/block-devices.js";
import { DriverError, toMessage } from "../errors.js";
import type { Pools } from "../pools/pool/pools.js";
import { detachDevice } from "../pools/provisioning/detach.js";
import { growDevice } from "../pools/volume/device-size.js";
import { applyLimits, effectiveLimits } from "../pools/volume/limits.js";
import type { Volume, VolumeCapability } from "../pools/volume/volume.js";
import { toDeviceSpec } from "./device-spec.js";
import { LeftNodeGuard } from "./left-node-guard.js";
import type { DeviceMapping, Secrets } from "./mounts/device-mapping.js";
import { type NumberedDevice, numberDevice } from "./mounts/device-mounts.js";
import type { Mounter } from "./mounts/mounter.js";

export interface VolumeDevicesParts {
  pools: Pools;
  blockDevices: BlockDevices;
  mapping: DeviceMapping;
  mounter: Mounter;
}

const detachWaitMsMax = 5_000;

/** The device that the users of a volume have: its ublk device, or the mapping on it. Callers serialise per volume. */
export class VolumeDevices {
  private readonly leftNodes: LeftNodeGuard;

  constructor(private readonly parts: VolumeDevicesParts) {
    this.leftNodes = new LeftNodeGuard(parts);
  }

  /** Gives a volume its device and its mapping, or verifies those that it has. No pod but its own can have them. */
  async open(volume: Volume, capability: VolumeCapability, secrets: Secrets): Promise<NumberedDevice> {
    const { pools, blockDevices, mounter, mapping } = this.parts;
    const existing = await blockDevices.find(volume.id);
    if (existing === undefined || existing.state === "dead") await this.leftNodes.assertNoneComesNext(volume);
    // The kernel keeps a dead device for as long as a mapping lies on it, and the volume would not get another.
    if (existing?.state === "dead") await mapping.close(volume.id);
    // A crash may have come between an expansion's record and the device.
    await growDevice(volume, blockDevices);
    const attached = await blockDevices.attach(toDeviceSpec(volume, pools.poolOf(volume), capability));
    const device = await this.guard(volume, await numberDevice(attached, mounter));
    const hasLimits = Object.keys(effectiveLimits(volume)).length > 0;
    if (existing !== undefined || hasLimits) await applyLimits(volume, blockDevices);
    const mapped = await mapping.open(volume, device, secrets);
    return mapped.number === device.number ? mapped : await this.guard(volume, mapped);
  }

  /** Gives users the size that the volume's record has, and returns what they have then. The volume is staged. */
  async grow(volume: Volume, secrets: Secrets): Promise<NumberedDevice> {
    const { blockDevices, mounter, mapping } = this.parts;
    await growDevice(volume, blockDevices);
    await mapping.grow(volume, await numberDevice(await this.getLive(volume.id), mounter), secrets);
    return await this.getStaged(volume.id);
  }

  /** Takes mapping and device away; a volume that has neither is a success, one in use is refused. */
  async close(volumeId: string): Promise<void> {
    const { blockDevices, mapping } = this.parts;
    await mapping.close(volumeId);
    await detachDevice(volumeId, { blockDevices, waitMsMax: detachWaitMsMax });
  }

  /** Whether the volume has an ublk device, in whatever state. */
  async exists(volumeId: string): Promise<boolean> {
    return (await this.parts.blockDevices.find(volumeId)) !== undefined;
  }

  /** What users have now; undefined when there is no such device, or its node is not there. */
  async find(volumeId: string): Promise<NumberedDevice | undefined> {
    const device = await this.parts.blockDevices.find(volumeId);
    if (device === undefined) return undefined;
    const number = await this.parts.mounter.findDeviceNumber(device.path);
    return number === undefined ? undefined : await this.parts.mapping.find({ ...device, number });
  }

  /** What users have, of a volume that is staged and ready to serve. */
  async getStaged(volumeId: string): Promise<NumberedDevice> {
    const { mounter, mapping } = this.parts;
    const device = await this.getLive(volumeId);
    const mapped = await mapping.find(await numberDevice(device, mounter));
    if (mapped !== undefined) return mapped;
    throw new DriverError("refused", `volume ${volumeId} has no mapping on ${device.path}: stage it again`);
  }

  // What a pod of another volume could reach does not stay, whether it was there before or not.
  private async guard(volume: Volume, device: NumberedDevice): Promise<NumberedDevice> {
    const access = await this.leftNodes.findAccess(volume, device);
    if (access === undefined) return device;
    await this.close(volume.id).catch((cause: unknown) => {
      const message = `${access}. ${device.path} could not be taken back: ${toMessage(cause)}`;
      throw new DriverError("refused", message, { cause });
    });
    throw new DriverError("refused", access);
  }

  private async getLive(volumeId: string): Promise<BlockDevice> {
    const device = await this.parts.blockDevices.find(volumeId);
    if (device === undefined) throw new DriverError("refused", `volume ${volumeId} is not staged: stage it first`);
    if (device.state === "live") return device;
    const message = `${device.path} of volume ${volumeId} is ${device.state}: unstage and stage it again`;
    throw new DriverError("refused", message);
  }
}
