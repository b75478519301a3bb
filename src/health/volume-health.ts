import { stat } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { type BlockDevice, BlockDeviceError, type BlockDevices } from "../engine/block-devices.js";
import { hasErrno, toMessage } from "../errors.js";
import { findPoolFault } from "../pools/pool/pool-presence.js";
import type { UnusableVolume } from "../pools/pool/pool-scan.js";
import { imageSizeBytesOf } from "../pools/volume/image-size.js";
import type { Volume } from "../pools/volume/volume.js";
import { inParallel } from "../system/in-parallel.js";
import type { StorageFinding, VolumeFinding } from "./finding.js";
import { askEngine, checkStorage, type StorageHealthParts } from "./storage-health.js";

export interface VolumeHealthParts extends StorageHealthParts {
  blockDevices: BlockDevices;
}

/** Something of a volume's id that is not well. */
export interface AbnormalVolume {
  id: string;
  findings: VolumeFinding[];
}

/**
 * A device that is handed from one engine to the next is quiesced for so long and no longer, and one that is being detached
 * dead.
 */
const changeMsMax = 2_000;
const pauseMs = 100;
/** Each question has its time to be answered in, which must not pass while it waits behind thousands of others. */
const checksAtOnceMax = 64;

type DeviceCheck = (volumeId: string) => Promise<VolumeFinding[]>;

/** How volumes do, as far as records, images, pools and devices tell. */
export class VolumeHealth {
  constructor(private readonly parts: VolumeHealthParts) {}

  /** What is wrong with a volume; nothing when it is well, and an error when there is no such volume. */
  async check(volumeId: string): Promise<VolumeFinding[]> {
    return await this.checkWith(volumeId, (id) => this.checkDevice(id));
  }

  private async checkWith(volumeId: string, checkDevice: DeviceCheck): Promise<VolumeFinding[]> {
    const { pools, ioErrors } = this.parts;
    const unusable = pools.findUnusable(volumeId);
    if (unusable !== undefined) return [toFinding(unusable)];
    const volume = pools.getVolume(volumeId);
    const poolFault = await findPoolFault(pools.poolOf(volume));
    if (poolFault !== undefined) return [{ status: "inaccessible", reason: "PoolUnavailable", message: poolFault }];
    const found = await Promise.all([this.checkImage(volume), checkDevice(volumeId)]);
    return [...found.flat(), ...ioErrors.findings(volumeId)];
  }

  /** Every volume that something is wrong with, in the order of their ids. */
  async listAbnormal(): Promise<AbnormalVolume[]> {
    const { pools } = this.parts;
    const ids = [...pools.listVolumes(), ...pools.listUnusable()].map(({ id }) => id).sort();
    const checkDevice = await this.createDeviceCheck();
    const abnormal = new Map<string, VolumeFinding[]>();
    await inParallel(ids, checksAtOnceMax, async (id) => {
      const findings = await this.checkListed(id, checkDevice);
      if (findings.length > 0) abnormal.set(id, findings);
    });
    return ids.filter((id) => abnormal.has(id)).map((id) => ({ id, findings: abnormal.get(id) ?? [] }));
  }

  /** What is wrong with the engine and the pools: see `checkStorage`. */
  async checkStorage(): Promise<StorageFinding[]> {
    return await checkStorage(this.parts);
  }

  /** A volume that was deleted since the list was made is none of it. */
  private async checkListed(id: string, checkDevice: DeviceCheck): Promise<VolumeFinding[]> {
    const { pools } = this.parts;
    const isThere = pools.peekVolume(id) !== undefined || pools.findUnusable(id) !== undefined;
    return isThere ? await this.checkWith(id, checkDevice) : [];
  }

  /** For many volumes: asks the engine once which of them have a device, and no further when it does not answer. */
  private async createDeviceCheck(): Promise<DeviceCheck> {
    try {
      const known = new Set(await askEngine(this.parts, this.parts.blockDevices.listVolumeIds()));
      return async (id) => (known.has(id) ? await this.checkDevice(id) : []);
    } catch (error) {
      const finding = toDeviceFinding(error);
      return async () => [finding];
    }
  }

  private async checkImage(volume: Volume): Promise<VolumeFinding[]> {
    const path = this.parts.pools.poolOf(volume).imagePath(volume.id);
    const expectedBytes = imageSizeBytesOf(volume);
    try {
      const { size } = await stat(path, { bigint: true });
      if (size >= expectedBytes || this.parts.pools.peekVolume(volume.id) === undefined) return [];
      return [imageLost(`${path} has ${size} bytes, the volume has ${expectedBytes}: restore it from a backup`)];
    } catch (error) {
      if (this.parts.pools.peekVolume(volume.id) === undefined) return [];
      if (hasErrno(error, "ENOENT")) return [imageLost(`${path} is missing: restore it from a backup`)];
      return [{ status: "inaccessible", reason: "PoolUnavailable", message: toMessage(error) }];
    }
  }

  private async checkDevice(volumeId: string): Promise<VolumeFinding[]> {
    try {
      const device = await this.findSettled(volumeId);
      if (device === undefined || device.state === "live") return [];
      const [reason, what] =
        device.state === "dead"
          ? (["DeviceDead", "the kernel has ended it: unstage and stage the volume again"] as const)
          : (["DeviceQuiesced", "its requests wait for an engine: look whether one is running"] as const);
      return [{ status: "inaccessible", reason, message: `${device.path} is ${device.state}: ${what}` }];
    } catch (error) {
      return [toDeviceFinding(error)];
    }
  }

  private async findSettled(volumeId: string): Promise<BlockDevice | undefined> {
    const { blockDevices } = this.parts;
    let device = await askEngine(this.parts, blockDevices.find(volumeId));
    for (let waitedMs = 0; isUnsettled(device) && waitedMs < changeMsMax; waitedMs += pauseMs) {
      await sleep(pauseMs);
      device = await askEngine(this.parts, blockDevices.find(volumeId));
    }
    return device;
  }
}

/** One volume whose device the engine cannot tell of shall hide no other from a list. */
function toDeviceFinding(error: unknown): VolumeFinding {
  if (!(error instanceof BlockDeviceError)) throw error;
  const reason = error.code === "unavailable" ? "EngineUnavailable" : "DeviceUnusable";
  return { status: "inaccessible", reason, message: error.message };
}

function isUnsettled(device: BlockDevice | undefined): boolean {
  return device !== undefined && device.state !== "live";
}

function toFinding({ reason: message, damage }: UnusableVolume): VolumeFinding {
  if (damage === "image") return imageLost(message);
  return { status: "inaccessible", reason: "RecordUnusable", message };
}

function imageLost(message: string): VolumeFinding {
  return { status: "data_loss", reason: "ImageLost", message };
}
