import type { CreateVolumeRequest, Volume } from "../../gen/csi/csi.js";
import { rpcs } from "../rpc-client.js";
import type { Action, Source } from "./action.js";
import { assertEqual, type Call, toCall, toCapability } from "./call.js";
import type { ModelState, ModelVolume } from "./state.js";
import type { Access, PoolName, World } from "./world.js";

type Create = Extract<Action, { do: "create" }>;

interface Content {
  id: string;
  access: Access;
  sizeUnits: number;
  token: string;
}

/** The calls that make and change volumes. */
export class VolumeCalls {
  constructor(
    private readonly state: ModelState,
    private readonly world: World,
  ) {}

  create(action: Create): Call {
    const { volume: slot, units, access, pool, from } = action;
    const content = from === undefined ? undefined : this.contentOf(from);
    const sourceId = from === undefined ? undefined : this.sourceIdOf(from);
    const known = this.state.volumes.get(slot);
    const request: Partial<CreateVolumeRequest> = {
      name: `volume-${slot}`,
      capacityRange: { requiredBytes: BigInt(units) * this.world.unitBytes, limitBytes: 0n },
      volumeCapabilities: [toCapability(access)],
      parameters: toParameters(pool),
      volumeContentSource: from && { type: toProtoSource(from, sourceId ?? "") },
    };
    const wish = { access, pool, sizeUnits: units, sourceId };
    const code = known === undefined ? codeOfNew(action, content, sourceId) : codeOfKnown(known, wish);
    const made = { ...wish, staged: false, targets: new Map(), token: content?.token ?? "" };
    const apply = ({ volume }: { volume?: Volume | undefined }) => {
      const { volumeId: id = "", capacityBytes } = volume ?? {};
      const sizeUnits = known?.sizeUnits ?? units;
      assertEqual("capacity_bytes", capacityBytes, BigInt(sizeUnits) * this.world.unitBytes);
      if (known === undefined) this.state.volumes.set(slot, { id, ...made });
      else assertEqual("volume_id", id, known.id);
    };
    return toCall({ method: rpcs.createVolume, request, code, apply });
  }

  delete(slot: number): Call {
    const code = isInUse(this.state.volumes.get(slot)) ? "FAILED_PRECONDITION" : "OK";
    const request = { volumeId: this.state.volumeId(slot) };
    return toCall({ method: rpcs.deleteVolume, request, code, apply: () => this.state.removeVolume(slot) });
  }

  expand(slot: number, units: number): Call {
    const volume = this.state.volumes.get(slot);
    const requiredBytes = BigInt(units) * this.world.unitBytes;
    const request = { volumeId: this.state.volumeId(slot), capacityRange: { requiredBytes, limitBytes: 0n } };
    const grows = volume !== undefined && units > volume.sizeUnits;
    const isRefused = grows && volume.staged && !this.world.canGrowInUse;
    const code = volume === undefined ? "NOT_FOUND" : isRefused ? "FAILED_PRECONDITION" : "OK";
    const apply = ({ capacityBytes }: { capacityBytes: bigint }) => {
      if (volume === undefined) return;
      volume.sizeUnits = Math.max(volume.sizeUnits, units);
      assertEqual("capacity_bytes", capacityBytes, BigInt(volume.sizeUnits) * this.world.unitBytes);
    };
    return toCall({ method: rpcs.controllerExpandVolume, request, code, apply });
  }

  /** Ten operations a second are the fewest there may be. */
  modify(slot: number, iops: number): Call {
    const volume = this.state.volumes.get(slot);
    const request = { volumeId: this.state.volumeId(slot), mutableParameters: { iops: String(iops) } };
    const code = volume === undefined ? "NOT_FOUND" : iops < 10 ? "INVALID_ARGUMENT" : "OK";
    return toCall({ method: rpcs.controllerModifyVolume, request, code });
  }

  list(): Call {
    const apply = ({ entries }: { entries: Array<{ volume?: Volume | undefined }> }) => {
      const found = entries.map(({ volume }) => [volume?.volumeId, volume?.capacityBytes]);
      const expected = [...this.state.volumes.values()]
        .sort((left, right) => (left.id < right.id ? -1 : 1))
        .map(({ id, sizeUnits }) => [id, BigInt(sizeUnits) * this.world.unitBytes]);
      assertEqual("volumes", found, expected);
    };
    return toCall({ method: rpcs.listVolumes, request: {}, code: "OK", apply });
  }

  private contentOf({ kind, slot }: Source): Content | undefined {
    if (kind === "volume") return this.state.volumes.get(slot);
    return kind === "snapshot" ? this.state.snapshots.get(slot) : this.state.group?.members[slot];
  }

  private sourceIdOf({ kind, slot }: Source): string {
    if (kind === "volume") return this.state.volumeId(slot);
    if (kind === "snapshot") return this.state.snapshotId(slot);
    return this.state.group?.members[slot]?.id ?? `no-such-member-${slot}`;
  }
}

function codeOfNew({ access, units }: Create, content: Content | undefined, sourceId: string | undefined): string {
  if (sourceId === undefined) return "OK";
  // What was deleted here may as well be on another node.
  if (content === undefined) return sourceId.startsWith("no-such-") ? "NOT_FOUND" : "RESOURCE_EXHAUSTED";
  if (content.access !== access) return "INVALID_ARGUMENT";
  return units < content.sizeUnits ? "OUT_OF_RANGE" : "OK";
}

type Wish = Pick<ModelVolume, "access" | "pool" | "sizeUnits" | "sourceId">;

/** A volume that was modified since is still what the request with which it was made asks for. */
function codeOfKnown(known: ModelVolume, wish: Wish): string {
  const isSame =
    known.access === wish.access &&
    known.pool === wish.pool &&
    known.sizeUnits >= wish.sizeUnits &&
    known.sourceId === wish.sourceId;
  return isSame ? "OK" : "ALREADY_EXISTS";
}

/** What is staged for block access, and not published, nobody can have open. */
function isInUse(volume: ModelVolume | undefined): boolean {
  if (volume?.staged !== true) return false;
  return volume.access === "mount" || volume.targets.size > 0;
}

function toParameters(pool: PoolName): Record<string, string> {
  return { pool, provisioning: pool === "disk" ? "thick" : "thin" };
}

function toProtoSource({ kind }: Source, id: string) {
  if (kind === "volume") return { $case: "volume", value: { volumeId: id } } as const;
  return { $case: "snapshot", value: { snapshotId: id } } as const;
}
