import * as z from "zod";
import { formatOptionsSchema } from "../volume/format-options.js";
import { limitsSchema } from "../volume/limits.js";
import { accessModes, encryptionTypes, fsTypes, type Volume } from "../volume/volume.js";
import { isVolumeId } from "../volume/volume-id.js";
import type { RecordFormat } from "./record-file.js";

/** Sizes are strings on disk: JSON numbers lose precision beyond 2^53 in other readers. */
export const sizeField = z.codec(z.string().regex(/^[1-9][0-9]{0,18}$/), z.bigint(), {
  decode: (text) => BigInt(text),
  encode: (value) => value.toString(),
});

export const capabilityField = z.discriminatedUnion("accessType", [
  z.object({ accessType: z.literal("block"), accessMode: z.enum(accessModes) }),
  z.object({
    accessType: z.literal("mount"),
    accessMode: z.enum(accessModes),
    fsType: z.enum(fsTypes).optional(),
    mountFlags: z.array(z.string()),
  }),
]);

export const volumeIdField = z.string().refine(isVolumeId, "not a volume id");

const contentSource = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("snapshot"), snapshotId: volumeIdField }),
  z.object({ kind: z.literal("volume"), volumeId: volumeIdField }),
]);

export const parametersField = z.object({
  pool: z.string().optional(),
  provisioning: z.enum(["thick", "thin"]),
  logicalBlockSizeBytes: z.union([z.literal(512), z.literal(4096)]),
  queueCount: z.int().positive().optional(),
  queueDepth: z.int().positive().optional(),
  format: formatOptionsSchema.optional(),
  limits: limitsSchema.optional(),
  trimIntervalMinutes: z.int().positive().optional(),
  trimAtUnstage: z.boolean().optional(),
  encryption: z.enum(encryptionTypes).optional(),
  encryptionDiscard: z.boolean().optional(),
  encryptionMemoryBytes: z.int().positive().optional(),
});

const podClaim = z.object({
  podUid: z.string().min(1),
  podName: z.string(),
  podNamespace: z.string(),
  targetPath: z.string().startsWith("/"),
  attributes: z.record(z.string(), z.string()),
});

/** `<pool>/volumes/<id>/volume.json`. */
export const volumeRecordFormat: RecordFormat<Volume> = {
  name: "volume record",
  version: 1,
  schema: z.object({
    id: volumeIdField,
    name: z.string().min(1),
    sizeBytes: sizeField,
    growingToBytes: sizeField.optional(),
    pool: z.string().min(1),
    parameters: parametersField,
    capabilities: z.array(capabilityField),
    contentSource: contentSource.optional(),
    isImported: z.literal(true).optional(),
    limits: limitsSchema.optional(),
    createdAt: z.iso.datetime(),
    asCreated: z.object({ sizeBytes: sizeField, limits: limitsSchema.optional() }).optional(),
    ephemeral: podClaim.optional(),
  }),
};
