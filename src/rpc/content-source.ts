import { DriverError } from "../errors.js";
import type { VolumeContentSource as ProtoContentSource } from "../gen/csi/csi.js";
import type { ContentSource } from "../pools/volume/volume.js";
import { requireField } from "./required.js";

/** The source that a request names; one that names neither snapshot nor volume is invalid. */
export function fromProtoContentSource(source: ProtoContentSource | undefined): ContentSource | undefined {
  if (source === undefined) return undefined;
  const { type } = source;
  if (type === undefined) {
    throw new DriverError("invalid", "volume_content_source has no type, give a snapshot or a volume");
  }
  if (type.$case === "snapshot") {
    const { snapshotId } = type.value;
    return { kind: "snapshot", snapshotId: requireField("volume_content_source.snapshot.snapshot_id", snapshotId) };
  }
  const { volumeId } = type.value;
  return { kind: "volume", volumeId: requireField("volume_content_source.volume.volume_id", volumeId) };
}

/** The source as the answer of CreateVolume has to repeat it. */
export function toProtoContentSource(source: ContentSource | undefined): ProtoContentSource | undefined {
  if (source === undefined) return undefined;
  if (source.kind === "snapshot") {
    return { type: { $case: "snapshot", value: { snapshotId: source.snapshotId } } };
  }
  return { type: { $case: "volume", value: { volumeId: source.volumeId } } };
}
