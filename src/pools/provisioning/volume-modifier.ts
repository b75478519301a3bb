import { isDeepStrictEqual } from "node:util";
import type { BlockDevices } from "../../engine/block-devices.js";
import { DriverError } from "../../errors.js";
import type { Pools } from "../pool/pools.js";
import { toCreated } from "../volume/as-created.js";
import { applyLimits, parseMutableParameters } from "../volume/limits.js";

/** Changes what may change about a volume that exists, in use or not. Callers serialise by id. */
export class VolumeModifier {
  constructor(
    private readonly pools: Pools,
    private readonly blockDevices: BlockDevices,
  ) {}

  /**
   * Gives a volume the limits of another VolumeAttributesClass, which replace those of the one before. The record comes
   * first: a device that did not get them has them from a repetition, or from its next staging.
   */
  async modify(volumeId: string, mutableParameters: Readonly<Record<string, string>>): Promise<void> {
    const volume = this.pools.getPersistent(volumeId);
    if (Object.keys(mutableParameters).length === 0) {
      throw new DriverError("invalid", "mutable_parameters is empty: give at least one");
    }
    const limits = parseMutableParameters(mutableParameters);
    const modified = { ...volume, limits, asCreated: toCreated(volume) };
    if (!isDeepStrictEqual(modified.limits, volume.limits)) await this.pools.updateVolume(modified);
    await applyLimits(modified, this.blockDevices);
  }
}
