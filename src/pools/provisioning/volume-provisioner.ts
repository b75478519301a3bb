import type { BlockDevices } from "../../engine/block-devices.js";
import { DriverError } from "../../errors.js";
import { type CapacityRange, chooseSizeBytes, largestSizeBytes } from "../parameters/capacity-range.js";
import { assertFormatFits } from "../parameters/format-parameters.js";
import { findFsType, withFsType } from "../parameters/mount-fs-type.js";
import { parseFsTypeParameter, parseVolumeParameters } from "../parameters/parameters.js";
import type { Pool } from "../pool/pool.js";
import { assertPersistent, type Pools } from "../pool/pools.js";
import { minBytes } from "../volume/bytes.js";
import { volumeSizeBytesOf } from "../volume/image-size.js";
import { parseMutableParameters, type VolumeLimits } from "../volume/limits.js";
import type { ContentSource, Volume, VolumeCapability, VolumeParameters } from "../volume/volume.js";
import { createVolumeId } from "../volume/volume-id.js";
import { detachDevice } from "./detach.js";
import { assertSameWish } from "./volume-comparison.js";
import { assertFits, type VolumeContents } from "./volume-content.js";

export interface CreateRequest {
  name: string;
  range: CapacityRange | undefined;
  capabilities: VolumeCapability[];
  /** As they come from the StorageClass. */
  parameters: Record<string, string>;
  /** As they come from the VolumeAttributesClass; left out when there is none. */
  mutableParameters?: Record<string, string> | undefined;
  /** What the volume begins with; left out for an empty one. */
  contentSource?: ContentSource | undefined;
}

export type CapacityRequest = Pick<CreateRequest, "parameters" | "capabilities">;

export interface Capacity {
  /** About as many as new volumes could have; 0 in a pool that this node lacks. */
  availableBytes: bigint;
  /** As many as one of them could have. */
  largestBytes: bigint;
  /** Of any volume that is made like this. */
  smallestBytes: bigint;
}

const detachWaitMsMax = 2_000;

/** Makes and removes volumes. Both verbs may be repeated; callers serialise them by name and by id. */
export class VolumeProvisioner {
  constructor(
    private readonly pools: Pools,
    private readonly blockDevices: BlockDevices,
    private readonly contents: VolumeContents,
  ) {}

  /** Returns the volume of this name, made now or by an earlier, equal request. */
  async create(request: CreateRequest): Promise<Volume> {
    const parameters = parseVolumeParameters(request.parameters);
    const { contentSource } = request;
    const limits = parseChosenLimits(request.mutableParameters);
    const existing = this.pools.findVolumeByName(request.name);
    // Looked for only when there is something to make: a source may be gone when the request is repeated.
    const content = existing ?? (contentSource === undefined ? undefined : this.contents.find(contentSource));
    const fsType = parseFsTypeParameter(request.parameters);
    const inherited = contentSource === undefined ? undefined : findFsType(content?.capabilities ?? []);
    const capabilities = withFsType(request.capabilities, fsType ?? inherited);
    assertFormatFits(parameters.format, { ...parameters, capabilities });
    if (existing !== undefined) {
      // The node's first pool may be another one by now.
      const pool = parameters.pool ?? existing.pool;
      return assertSameWish(existing, { ...request, capabilities, limits, parameters: { ...parameters, pool } });
    }
    const pool = this.choosePool(parameters);
    if (content !== undefined) assertFits(content, { capabilities, parameters });
    const sizeBytes = chooseSizeBytes(request.range, { ...parameters, capabilities, contentBytes: content?.sizeBytes });
    const volume: Volume = {
      id: createVolumeId(),
      name: request.name,
      sizeBytes,
      pool: pool.name,
      parameters: { ...parameters, pool: pool.name },
      capabilities,
      limits,
      contentSource,
      createdAt: new Date().toISOString(),
    };
    const fill = contentSource && ((path: string) => this.contents.fill(volume, contentSource, path));
    await this.pools.createVolume(volume, fill);
    return volume;
  }

  /** Removes a volume and the device it may still have. An unknown id is a success; a volume in use is refused. */
  async delete(volumeId: string): Promise<void> {
    const volume = this.pools.findVolume(volumeId);
    if (volume === undefined) return;
    assertPersistent(volume);
    this.contents.assertVolumeUnused(volumeId);
    await detachDevice(volumeId, { blockDevices: this.blockDevices, waitMsMax: detachWaitMsMax });
    await this.pools.deleteVolume(volume);
  }

  /** What new volumes could have. Refuses what `create` would refuse of these parameters and capabilities. */
  async readCapacity({ capabilities, ...request }: CapacityRequest): Promise<Capacity> {
    const parameters = parseVolumeParameters(request.parameters);
    const uses = withFsType(orAnyOf(capabilities, request.parameters), parseFsTypeParameter(request.parameters));
    assertFormatFits(parameters.format, { ...parameters, capabilities: uses });
    const { pool, provisioning, logicalBlockSizeBytes, encryption } = parameters;
    const imageBytes = (await this.pools.find(pool)?.estimateAvailableBytes(provisioning)) ?? 0n;
    const wholeBytes = volumeSizeBytesOf(imageBytes, { encryption });
    const availableBytes = wholeBytes - (wholeBytes % BigInt(logicalBlockSizeBytes));
    return {
      availableBytes,
      largestBytes: minBytes(availableBytes, largestSizeBytes),
      smallestBytes: chooseSizeBytes({ requiredBytes: 1n }, { logicalBlockSizeBytes, capabilities: uses }),
    };
  }

  /** `no_space` for a pool of other nodes, upon which Kubernetes lets the scheduler choose one of those. */
  private choosePool(parameters: VolumeParameters): Pool {
    const pool = this.pools.find(parameters.pool);
    if (pool !== undefined) return pool;
    const message = `this node has no pool "${parameters.pool}", its pools are: ${this.pools.names.join(", ")}`;
    throw new DriverError("no_space", `${message}; use one of them, or a node that has the pool`);
  }
}

/** A caller that gives no capabilities may still name the file system in the parameters. */
function orAnyOf(capabilities: VolumeCapability[], parameters: Record<string, string>): VolumeCapability[] {
  if (capabilities.length > 0 || parseFsTypeParameter(parameters) === undefined) return capabilities;
  return [{ accessType: "mount", accessMode: "SINGLE_NODE_WRITER", mountFlags: [] }];
}

function parseChosenLimits(mutableParameters: Record<string, string> = {}): VolumeLimits | undefined {
  return Object.keys(mutableParameters).length === 0 ? undefined : parseMutableParameters(mutableParameters);
}
