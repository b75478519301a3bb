import { describe, expect, test } from "@jest/globals";
import { blockCapability, mountCapability } from "../../testing/workspace.js";
import type { FsType, VolumeCapability } from "../volume/volume.js";
import { assertFormatFits, parseFormatParameters } from "./format-parameters.js";

const mountAs = (fsType: FsType | undefined): VolumeCapability => ({ ...mountCapability, fsType }) as VolumeCapability;

test("no parameter means no option", () => {
  expect(parseFormatParameters({ pool: "disk" })).toBeUndefined();
});

test("every parameter becomes an option of its file system", () => {
  const ext4 = { ext4BlockSize: "4096", ext4BytesPerInode: "65536", ext4InodeSize: "256", ext4ReservedPercent: "0" };
  const xfs = { xfsInodeSize: "512", xfsReflink: "true", xfsStripeUnit: "65536", xfsStripeWidth: "2" };
  const btrfs = { btrfsNodeSize: "16384", btrfsMetadata: "dup", btrfsChecksum: "sha256" };
  expect(parseFormatParameters({ ...ext4, ext4LazyInit: "false", ...xfs, ...btrfs })).toEqual({
    ext4: {
      blockSizeBytes: 4096,
      bytesPerInode: 65536,
      inodeSizeBytes: 256,
      reservedBlocksPercent: 0,
      lazyInit: false,
    },
    xfs: { inodeSizeBytes: 512, reflink: true, stripeUnitBytes: 65536, stripeWidth: 2 },
    btrfs: { nodeSizeBytes: 16384, metadataProfile: "dup", checksum: "sha256" },
  });
});

describe("options fit", () => {
  const check = (parameters: Record<string, string>, capability: VolumeCapability, logicalBlockSizeBytes = 512) =>
    assertFormatFits(parseFormatParameters(parameters), { capabilities: [capability], logicalBlockSizeBytes });

  test("the type asked for, and ext4 when none is", () => {
    check({ ext4BlockSize: "1024" }, mountAs(undefined));
    check({ xfsReflink: "false" }, mountAs("xfs"));
    check({}, blockCapability);
  });

  test.each<[Record<string, string>, VolumeCapability, RegExp]>([
    [
      { xfsReflink: "false" },
      mountAs("ext4"),
      /^parameters of xfs \(.*xfsReflink.*\) are given for ext4: leave them out$/,
    ],
    [{ xfsReflink: "false" }, mountAs(undefined), /are given for ext4/],
    [{ ext4BlockSize: "1024", xfsReflink: "false" }, mountAs("xfs"), /^parameters of ext4 .* given for xfs/],
    [{ ext4BlockSize: "1024" }, blockCapability, /are given for block access/],
    [{ ext4InodeSize: "1024", ext4BlockSize: "1024" }, mountAs("xfs"), /given for xfs/],
    [
      { xfsInodeSize: "1024", xfsBlockSize: "1024" },
      mountAs("xfs"),
      /xfsInodeSize must be at most half of xfsBlockSize \(1024\)/,
    ],
    [{ xfsStripeUnit: "65536" }, mountAs("xfs"), /go together: give both or neither/],
    [{ xfsStripeUnit: "5000", xfsStripeWidth: "2" }, mountAs("xfs"), /5000, not a multiple of xfsBlockSize/],
  ])("%j for %j is refused", (parameters, capability, message) => {
    expect(() => check(parameters, capability)).toThrow(
      expect.objectContaining({ code: "invalid", message: expect.stringMatching(message) }),
    );
  });

  test("blocks are not smaller than those of the device", () => {
    expect(() => check({ ext4BlockSize: "1024" }, mountAs("ext4"), 4096)).toThrow(
      "parameter ext4BlockSize is 1024, less than the logicalBlockSize 4096",
    );
  });
});
