import * as z from "zod";
import { DriverError } from "../../errors.js";
import { type FormatOptions, formatOptionsSchema } from "../volume/format-options.js";
import { defaultFsType, type FsType, type VolumeCapability } from "../volume/volume.js";

interface FormatParameter {
  fsType: FsType;
  /** Its name among the format options of that type. */
  option: string;
  schema: z.ZodType;
  allowed: string;
}

const oneOf = (...values: [string, ...string[]]) => ({
  schema: z.enum(values),
  allowed: values.map((value) => `"${value}"`).join(", "),
});
const numberOf = (...values: number[]) => {
  const { schema, allowed } = oneOf(...(values.map(String) as [string, ...string[]]));
  return { schema: schema.transform(Number), allowed };
};
const between = (smallest: number, largest: number) => ({
  schema: z
    .string()
    .regex(/^(0|[1-9][0-9]{0,8})$/)
    .transform(Number)
    .refine((value) => value >= smallest && value <= largest),
  allowed: `an integer from ${smallest} to ${largest}`,
});
const yesOrNo = {
  schema: z.enum(["true", "false"]).transform((text) => text === "true"),
  allowed: '"true" or "false"',
};

/** Every parameter of a StorageClass that shapes a file system: what mkfs(8) of that type accepts and users ask for. */
const formatTable: Readonly<Record<string, FormatParameter>> = {
  ext4BlockSize: { fsType: "ext4", option: "blockSizeBytes", ...numberOf(1024, 2048, 4096) },
  ext4BytesPerInode: { fsType: "ext4", option: "bytesPerInode", ...between(1024, 64 * 1024 ** 2) },
  ext4InodeSize: { fsType: "ext4", option: "inodeSizeBytes", ...numberOf(128, 256, 512, 1024) },
  ext4ReservedPercent: { fsType: "ext4", option: "reservedBlocksPercent", ...between(0, 50) },
  ext4LazyInit: { fsType: "ext4", option: "lazyInit", ...yesOrNo },
  xfsBlockSize: { fsType: "xfs", option: "blockSizeBytes", ...numberOf(1024, 2048, 4096) },
  xfsInodeSize: { fsType: "xfs", option: "inodeSizeBytes", ...numberOf(512, 1024, 2048) },
  xfsReflink: { fsType: "xfs", option: "reflink", ...yesOrNo },
  xfsStripeUnit: { fsType: "xfs", option: "stripeUnitBytes", ...between(4096, 16 * 1024 ** 2) },
  xfsStripeWidth: { fsType: "xfs", option: "stripeWidth", ...between(1, 256) },
  btrfsNodeSize: { fsType: "btrfs", option: "nodeSizeBytes", ...numberOf(4096, 8192, 16384, 32768, 65536) },
  btrfsMetadata: { fsType: "btrfs", option: "metadataProfile", ...oneOf("single", "dup") },
  btrfsChecksum: { fsType: "btrfs", option: "checksum", ...oneOf("crc32c", "xxhash", "sha256", "blake2") },
};

export const formatParameterNames = Object.keys(formatTable);

/** Reads the parameters that shape a file system; undefined when there are none. */
export function parseFormatParameters(given: Readonly<Record<string, string>>): FormatOptions | undefined {
  const byType: Record<string, Record<string, unknown>> = {};
  for (const [name, { fsType, option, schema, allowed }] of Object.entries(formatTable)) {
    const text = given[name];
    if (text === undefined) continue;
    const parsed = schema.safeParse(text);
    if (!parsed.success) throw invalid(`parameter ${name} is "${text}", allowed is ${allowed}`);
    byType[fsType] = { ...byType[fsType], [option]: parsed.data };
  }
  return Object.keys(byType).length === 0 ? undefined : formatOptionsSchema.parse(byType);
}

/** The options by the names of their parameters; what was not chosen is undefined. */
export function toFormatValues(
  format: FormatOptions | undefined,
): Record<string, string | number | boolean | undefined> {
  return Object.fromEntries(
    Object.entries(formatTable).map(([name, { fsType, option }]) => {
      const options: Record<string, string | number | boolean | undefined> = format?.[fsType] ?? {};
      return [name, options[option]];
    }),
  );
}

/** What the options are for, and what they have to go with. */
export interface FormatRules {
  capabilities: readonly VolumeCapability[];
  logicalBlockSizeBytes: number;
}

/** Fails when options are for a file system that the volume will not have, or contradict each other. */
export function assertFormatFits(format: FormatOptions | undefined, rules: FormatRules): void {
  if (format === undefined) return;
  const fsTypes = Object.keys(format) as FsType[];
  const made = rules.capabilities.map(describeUse);
  for (const fsType of fsTypes) {
    if (made.every((use) => use === fsType)) continue;
    const given = formatParameterNames.filter((name) => formatTable[name]?.fsType === fsType).join(", ");
    throw invalid(`parameters of ${fsType} (${given}) are given for ${made.join(", ")}: leave them out`);
  }
  assertConsistent(format, rules.logicalBlockSizeBytes);
}

function assertConsistent({ ext4 = {}, xfs = {}, btrfs = {} }: FormatOptions, logicalBlockSizeBytes: number): void {
  const blocks = { ext4BlockSize: ext4.blockSizeBytes, xfsBlockSize: xfs.blockSizeBytes };
  for (const [name, sizeBytes] of Object.entries({ ...blocks, btrfsNodeSize: btrfs.nodeSizeBytes })) {
    if (sizeBytes === undefined || sizeBytes >= logicalBlockSizeBytes) continue;
    throw invalid(`parameter ${name} is ${sizeBytes}, less than the logicalBlockSize ${logicalBlockSizeBytes}`);
  }
  if ((ext4.inodeSizeBytes ?? 0) > (ext4.blockSizeBytes ?? 1024)) {
    throw invalid(`parameter ext4InodeSize is more than ext4BlockSize (${ext4.blockSizeBytes ?? "not given"})`);
  }
  const xfsBlockBytes = xfs.blockSizeBytes ?? 4096;
  if ((xfs.inodeSizeBytes ?? 512) * 2 > xfsBlockBytes) {
    throw invalid(`parameter xfsInodeSize must be at most half of xfsBlockSize (${xfsBlockBytes})`);
  }
  if ((xfs.stripeUnitBytes === undefined) !== (xfs.stripeWidth === undefined)) {
    throw invalid("parameters xfsStripeUnit and xfsStripeWidth go together: give both or neither");
  }
  if ((xfs.stripeUnitBytes ?? 0) % xfsBlockBytes === 0) return;
  throw invalid(`parameter xfsStripeUnit is ${xfs.stripeUnitBytes}, not a multiple of xfsBlockSize (${xfsBlockBytes})`);
}

function describeUse(capability: VolumeCapability): string {
  return capability.accessType === "block" ? "block access" : (capability.fsType ?? defaultFsType);
}

const invalid = (message: string): DriverError => new DriverError("invalid", message);
