import { DriverError } from "../../errors.js";
import { type CapacityRange, isInRange } from "../parameters/capacity-range.js";
import { withFsType } from "../parameters/mount-fs-type.js";
import { listDifferent, toParameterValues } from "../parameters/parameter-values.js";
import { parseFsTypeParameter, parseVolumeParameters } from "../parameters/parameters.js";
import { toCreated } from "../volume/as-created.js";
import { explainMismatch } from "../volume/capability-check.js";
import { effectiveLimits, parseMutableParameters, toLimitValues, type VolumeLimits } from "../volume/limits.js";
import type { ContentSource, Volume, VolumeCapability, VolumeParameters } from "../volume/volume.js";

/** A request of CreateVolume, read. */
export interface VolumeWish {
  name: string;
  range: CapacityRange | undefined;
  capabilities: readonly VolumeCapability[];
  parameters: VolumeParameters;
  limits: VolumeLimits | undefined;
  contentSource?: ContentSource | undefined;
}

/**
 * Fails with `conflict` unless a wish is the one that this volume was made for. What has changed about the volume since is
 * no difference: neither an expansion nor another VolumeAttributesClass makes the first request a wrong one.
 */
export function assertSameWish(existing: Volume, wish: VolumeWish): Volume {
  const { sizeBytes, limits } = toCreated(existing);
  const isSize = [existing.sizeBytes, sizeBytes].some((bytes) => isInRange(bytes, wish.range));
  const isLimited = [existing.limits, limits].some((each) => listOtherLimits(each, wish.limits).length === 0);
  // The pool by the name that it has now.
  const made = { ...existing.parameters, pool: existing.pool };
  const others = listDifferent(toParameterValues(made), toParameterValues(wish.parameters));
  const differences: string[] = [];
  if (!isSize) differences.push(`size (it has ${existing.sizeBytes} bytes)`);
  if (others.length > 0) differences.push(`parameters (${others.join(", ")})`);
  if (!isLimited) differences.push(`mutable parameters (${listOtherLimits(limits, wish.limits).join(", ")})`);
  if (capabilityKey(existing.capabilities) !== capabilityKey(wish.capabilities)) differences.push("capabilities");
  if (sourceKey(existing.contentSource) !== sourceKey(wish.contentSource)) differences.push("source of its content");
  if (differences.length === 0) return existing;
  const message = `volume "${wish.name}" exists with other ${differences.join(", ")}`;
  throw new DriverError("conflict", `${message}: use another name, or the values it was made with`);
}

/** What a caller believes of a volume; what is empty it does not ask about. */
export interface VolumeClaims {
  capabilities: readonly VolumeCapability[];
  parameters: Readonly<Record<string, string>>;
  mutableParameters: Readonly<Record<string, string>>;
}

/** What of it is not so, or undefined when all is. Parameters that no volume has are `invalid`. */
export function explainDifference(volume: Volume, claims: VolumeClaims): string | undefined {
  const capabilities = withFsType(claims.capabilities, parseFsTypeParameter(claims.parameters));
  const others = [
    ...listOtherParameters(volume, claims.parameters).map((name) => `parameter ${name}`),
    ...listOtherMutable(volume, claims.mutableParameters).map((name) => `mutable parameter ${name}`),
  ];
  if (others.length > 0) return `volume ${volume.id} has another value of ${others.join(", ")}`;
  return explainMismatch(volume, capabilities);
}

function listOtherParameters({ parameters, pool }: Volume, claimed: VolumeClaims["parameters"]): string[] {
  if (Object.keys(claimed).length === 0) return [];
  const parsed = parseVolumeParameters(claimed);
  // The node's first pool may be another one by now.
  const asked = { ...parsed, pool: parsed.pool ?? pool };
  return listDifferent(toParameterValues({ ...parameters, pool }), toParameterValues(asked));
}

// Defaults of the StorageClass hold as well as what a VolumeAttributesClass chose: what counts is what the device gets.
function listOtherMutable(volume: Volume, claimed: VolumeClaims["mutableParameters"]): string[] {
  if (Object.keys(claimed).length === 0) return [];
  const limits = parseMutableParameters(claimed);
  return listOtherLimits(effectiveLimits(volume), effectiveLimits({ ...volume, limits }));
}

function listOtherLimits(left: VolumeLimits | undefined, right: VolumeLimits | undefined): string[] {
  return listDifferent(toLimitValues(left), toLimitValues(right));
}

function sourceKey(source: ContentSource | undefined): string {
  if (source === undefined) return "";
  return source.kind === "volume" ? `volume ${source.volumeId}` : `snapshot ${source.snapshotId}`;
}

/** The same for the same set of capabilities in any order. Mount flags are no property of the volume. */
function capabilityKey(capabilities: readonly VolumeCapability[]): string {
  const keys = capabilities.map((capability) => {
    const fsType = capability.accessType === "mount" ? (capability.fsType ?? "") : "";
    return `${capability.accessType}/${fsType}/${capability.accessMode}`;
  });
  return [...new Set(keys)].sort().join();
}
