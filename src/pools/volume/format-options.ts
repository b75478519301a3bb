import * as z from "zod";

const ext4 = z.object({
  blockSizeBytes: z.union([z.literal(1024), z.literal(2048), z.literal(4096)]).optional(),
  bytesPerInode: z.int().positive().optional(),
  inodeSizeBytes: z.int().positive().optional(),
  reservedBlocksPercent: z.int().min(0).optional(),
  lazyInit: z.boolean().optional(),
});

const xfs = z.object({
  blockSizeBytes: z.union([z.literal(1024), z.literal(2048), z.literal(4096)]).optional(),
  inodeSizeBytes: z.int().positive().optional(),
  reflink: z.boolean().optional(),
  stripeUnitBytes: z.int().positive().optional(),
  /** In stripe units. */
  stripeWidth: z.int().positive().optional(),
});

const btrfs = z.object({
  nodeSizeBytes: z.int().positive().optional(),
  metadataProfile: z.enum(["single", "dup"]).optional(),
  checksum: z.enum(["crc32c", "xxhash", "sha256", "blake2"]).optional(),
});

/** How a file system is to be made, as a volume's record keeps it; at most one type is named. */
export const formatOptionsSchema = z.object({
  ext4: ext4.optional(),
  xfs: xfs.optional(),
  btrfs: btrfs.optional(),
});

export type Ext4FormatOptions = z.output<typeof ext4>;
export type XfsFormatOptions = z.output<typeof xfs>;
export type BtrfsFormatOptions = z.output<typeof btrfs>;
export type FormatOptions = z.output<typeof formatOptionsSchema>;
