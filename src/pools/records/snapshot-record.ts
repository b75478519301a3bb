import * as z from "zod";
import { type Snapshot, type SnapshotGroup, snapshotStates } from "../volume/snapshot.js";
import type { RecordFormat } from "./record-file.js";
import { capabilityField, parametersField, sizeField, volumeIdField } from "./volume-record.js";

const countField = z.codec(z.string().regex(/^(0|[1-9][0-9]{0,18})$/), z.bigint(), {
  decode: (text) => BigInt(text),
  encode: (value) => value.toString(),
});

/** `<pool>/snapshots/<id>/snapshot.json`. */
export const snapshotRecordFormat: RecordFormat<Snapshot> = {
  name: "snapshot record",
  version: 1,
  schema: z.object({
    id: volumeIdField,
    name: z.string().min(1),
    sourceVolumeId: volumeIdField,
    sizeBytes: sizeField,
    imageSizeBytes: sizeField,
    pool: z.string().min(1),
    state: z.enum(snapshotStates),
    reason: z.string().optional(),
    bookedBytes: countField,
    hasCopy: z.boolean().optional(),
    content: z.object({ capabilities: z.array(capabilityField), parameters: parametersField }),
    group: z.object({ id: volumeIdField, poolUuid: z.uuid() }).optional(),
    createdAt: z.iso.datetime(),
  }),
};

/** `<pool>/groups/<id>.json`: with it a group exists, without it its members are left-overs. */
export const groupRecordFormat: RecordFormat<SnapshotGroup> = {
  name: "snapshot group record",
  version: 1,
  schema: z.object({
    id: volumeIdField,
    name: z.string().min(1),
    snapshotIds: z.array(volumeIdField).min(1),
    sourceVolumeIds: z.array(volumeIdField).min(1),
    createdAt: z.iso.datetime(),
  }),
};
