import type { BlockDevices } from "../../engine/block-devices.js";
import { DriverError, toMessage } from "../../errors.js";
import type { Logger } from "../../log.js";
import { type CapacityRange, chooseGrownSizeBytes } from "../parameters/capacity-range.js";
import type { Pools } from "../pool/pools.js";
import { explainMismatch } from "../volume/capability-check.js";
import { assertDeviceCanGrow, growDevice } from "../volume/device-size.js";
import type { Volume, VolumeCapability } from "../volume/volume.js";

export interface ExpandRequest {
  volumeId: string;
  range: CapacityRange | undefined;
  /** How the volume is used; undefined when the caller does not say. */
  capability: VolumeCapability | undefined;
}

export interface Expansion {
  sizeBytes: bigint;
  /** Whether something on the node, such as a file system, has yet to grow into the new bytes. */
  needsNode: boolean;
}

/**
 * Makes volumes larger, in use or not: book, image, record, device, in this order. Whoever is interrupted may repeat the
 * call, and goes on from where it stopped. Callers serialise by id.
 */
export class VolumeExpander {
  constructor(
    private readonly pools: Pools,
    private readonly blockDevices: BlockDevices,
  ) {}

  /** A volume that has the size already, or a larger one in the range, is a success. */
  async expand({ volumeId, range, capability }: ExpandRequest): Promise<Expansion> {
    const volume = this.pools.getPersistent(volumeId);
    assertSuits(volume, capability);
    const sizeBytes = chooseGrownSizeBytes(range, volume);
    const grown = sizeBytes === volume.sizeBytes ? volume : await this.grow(volume, sizeBytes);
    await growDevice(grown, this.blockDevices);
    return { sizeBytes: grown.sizeBytes, needsNode: needsNode(volume, capability) };
  }

  /** After a start: gives every device the size that its volume got before the driver ended. */
  async growDevices(logger: Logger): Promise<void> {
    for (const { volumeId } of await this.blockDevices.list()) {
      const volume = this.pools.peekVolume(volumeId);
      if (volume === undefined) continue;
      await growDevice(volume, this.blockDevices).catch((error: unknown) =>
        logger.warn({ volumeId, reason: toMessage(error) }, "device is smaller than its volume"),
      );
    }
  }

  private async grow(volume: Volume, sizeBytes: bigint): Promise<Volume> {
    await assertDeviceCanGrow(volume.id, this.blockDevices);
    return await this.pools.growVolume(volume, sizeBytes);
  }
}

function assertSuits(volume: Volume, capability: VolumeCapability | undefined): void {
  const mismatch = capability === undefined ? undefined : explainMismatch(volume, [capability]);
  if (mismatch !== undefined) throw new DriverError("invalid", mismatch);
}

/** A raw block volume is its device, and that has grown already. */
/** A file system, and the mapping of an encrypted volume, do not follow their device by themselves. */
function needsNode(volume: Volume, capability: VolumeCapability | undefined): boolean {
  if (volume.parameters.encryption !== undefined) return true;
  const uses = capability === undefined ? volume.capabilities : [capability];
  return uses.some(({ accessType }) => accessType === "mount");
}
