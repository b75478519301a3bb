import { describe, expect, test } from "@jest/globals";
import type { FsType } from "../volume/volume.js";
import { parseMountFlags } from "./mount-options.js";

describe("mount options that are allowed", () => {
  test.each<[FsType, string[]]>([
    ["ext4", ["noatime", "data=journal", "errors=remount-ro", "commit=30", "init_itable=10", "discard"]],
    ["xfs", ["nodiratime", "allocsize=64m", "logbufs=8", "logbsize=256k", "prjquota"]],
    ["btrfs", ["compress=zstd:3", "autodefrag", "space_cache=v2", "discard=async", "compress"]],
  ])("for %s are passed on: %j", (fsType, flags) => {
    expect(parseMountFlags(flags, fsType)).toEqual(flags);
  });

  test("several in one flag are taken apart", () => {
    expect(parseMountFlags(["noatime,nodev", "ro"], "ext4")).toEqual(["noatime", "nodev", "ro"]);
  });

  test("an SELinux label keeps its quotes and the commas in them", () => {
    const label = 'context="system_u:object_r:container_file_t:s0:c1,c2"';
    expect(parseMountFlags([label, `noatime,${label},nodev`], "xfs")).toEqual([label, "noatime", label, "nodev"]);
  });

  test("are those of any type while the type is not known", () => {
    expect(parseMountFlags(["compress=lzo", "data=ordered", "wsync"], undefined)).toHaveLength(3);
  });
});

describe("mount options that are refused", () => {
  test.each<[string, FsType | undefined, string | RegExp]>([
    ["loop", "ext4", 'mount option "loop" is not allowed for ext4: it would change what is mounted, leave it out'],
    ["noatime,remount", "ext4", /"remount" is not allowed for ext4: it would change what is mounted/],
    ["subvol=/other", "btrfs", /"subvol=\/other" is not allowed for btrfs: it would change what is mounted/],
    ["device=/dev/sda", "btrfs", /a volume has no second device/],
    ["dev=/dev/sda", undefined, /a volume has no second device/],
    ["logdev=/dev/sda", "xfs", /a volume has no second device/],
    ["journal_path=/dev/sda", "ext4", /a volume has no second device/],
    ["nobarrier", "ext4", /acknowledged writes could be lost/],
    ["barrier=0", "btrfs", /acknowledged writes could be lost/],
    ["norecovery", "xfs", /without its log a file system shows old data/],
    ["nouuid", "xfs", /it is not needed, clones get a uuid of their own/],
    ["errors=panic", "ext4", /"errors" needs another value/],
    ["ro=1", "ext4", /"ro" needs another value/],
    ["commit", "ext4", /"commit" needs another value/],
    ["commit=-1", "ext4", /"commit" needs another value/],
    ["constructor", "ext4", /"constructor" is not allowed for ext4, allowed are acl, async, .*usrquota$/],
    ["compress=zstd", "ext4", /"compress=zstd" is not allowed for ext4, allowed are/],
    ['context="a,b', "ext4", /cannot be read: give options without empty parts or lone quotes/],
    ["context=a:b:c:s0:c1,c2", "ext4", /"c2" is not allowed/],
    ["ro,,nodev", "ext4", /cannot be read/],
    ["", "ext4", /cannot be read/],
  ])("%s for %s", (flag, fsType, message) => {
    expect(() => parseMountFlags([flag], fsType)).toThrow(
      expect.objectContaining({ code: "invalid", message: expect.stringMatching(message) }),
    );
  });
});
