import { DriverError } from "../../errors.js";
import { chooseSizeBytes } from "../parameters/capacity-range.js";
import { readWish } from "../parameters/ephemeral-attributes.js";
import type { EphemeralRules } from "../parameters/ephemeral-rules.js";
import { parseVolumeParameters } from "../parameters/parameters.js";
import type { Pools } from "../pool/pools.js";
import type { MountCapability, PodClaim, Volume } from "../volume/volume.js";
import { isVolumeId } from "../volume/volume-id.js";

/** An inline volume that kubelet asks for. */
export interface EphemeralOrder {
  volumeId: string;
  claim: PodClaim;
  capability: MountCapability;
}

/** The volume of an order, and whether the order has made it: one that was there before may hold a pod's data. */
export interface OrderedVolume {
  volume: Volume;
  isNew: boolean;
}

/** Makes inline volumes within the administrator's rules. Callers serialise by volume. */
export class EphemeralProvisioner {
  /** Volumes that are being made: not listed yet, but counted. */
  private readonly creating = new Set<string>();

  constructor(
    private readonly pools: Pools,
    private readonly rules: EphemeralRules,
  ) {}

  /**
   * Returns the volume of this id, made now or by an earlier, equal order. The rules are asked for new volumes only: a pod
   * that runs is not in conflict with what an administrator changes later.
   */
  async create(order: EphemeralOrder): Promise<OrderedVolume> {
    const existing = this.pools.findVolume(order.volumeId);
    if (existing !== undefined) return { volume: assertSameClaim(existing, order.claim), isNew: false };
    const volume = this.toVolume(order);
    this.assertRoomForOne();
    this.creating.add(volume.id);
    try {
      await this.pools.createVolume(volume);
      return { volume, isNew: true };
    } finally {
      this.creating.delete(volume.id);
    }
  }

  private toVolume({ volumeId, claim, capability }: EphemeralOrder): Volume {
    if (!isVolumeId(volumeId)) throw invalid(`volume_id "${volumeId}" is not one that kubelet gives to inline volumes`);
    const [defaultPool = ""] = this.pools.names;
    const { sizeBytes, pool, provisioning, limits } = readWish(claim.attributes, this.rules, defaultPool);
    if (this.pools.find(pool) === undefined) {
      throw invalid(`inline volumes are to lie in pool "${pool}", which this node does not have`);
    }
    const parameters = { ...parseVolumeParameters({ pool, provisioning }), limits };
    const range = { requiredBytes: sizeBytes, limitBytes: this.rules.sizeBytesMax };
    const capabilities = [capability];
    return {
      id: volumeId,
      name: volumeId,
      sizeBytes: chooseSizeBytes(range, { ...parameters, capabilities }),
      pool,
      parameters,
      capabilities,
      createdAt: new Date().toISOString(),
      ephemeral: claim,
    };
  }

  private assertRoomForOne(): void {
    const { volumeCountMax } = this.rules;
    if (this.pools.listEphemeral().length + this.creating.size < volumeCountMax) return;
    throw new DriverError("no_space", `this node may have ${volumeCountMax} inline volumes at a time, and has them`);
  }
}

function assertSameClaim(existing: Volume, claim: PodClaim): Volume {
  const known = existing.ephemeral;
  if (known === undefined) throw conflict(`volume ${existing.id} exists and is not an inline volume`);
  const differences: string[] = [];
  if (known.podUid !== claim.podUid) differences.push(`pod (it belongs to ${known.podNamespace}/${known.podName})`);
  if (known.targetPath !== claim.targetPath) differences.push(`target_path (it is for ${known.targetPath})`);
  if (attributeKey(known) !== attributeKey(claim)) differences.push("volume attributes");
  if (differences.length === 0) return existing;
  throw conflict(`inline volume ${existing.id} exists with other ${differences.join(", ")}: unpublish it first`);
}

const attributeKey = ({ attributes }: PodClaim): string => JSON.stringify(Object.entries(attributes).sort());
const invalid = (message: string): DriverError => new DriverError("invalid", message);
const conflict = (message: string): DriverError => new DriverError("conflict", message);
