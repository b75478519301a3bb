import { expect, test } from "@jest/globals";
import { rejectionOf } from "../../testing/workspace.js";
import { FakeMounter } from "../testing/fake-mounter.js";
import { isGone, unmountAll } from "./unmounting.js";

const entry = { deviceNumber: "253:0", root: "/", mountPoint: "/t", options: ["rw"], fsType: "ext4", superOptions: [] };
const node = { ...entry, deviceNumber: "0:5", fsType: "devtmpfs", source: "udev" };

test.each([
  ["the file system of a ublk device", { ...entry, source: "/dev/ublkb0" }],
  ["the node of a ublk device", { ...node, root: "/ublkb0" }],
  ["the file system of a mapping of ours", { ...entry, source: "/dev/mapper/ublk-csi-1" }],
  ["the node of a mapping of ours by its name", { ...node, root: "/mapper/ublk-csi-1" }],
  ["the node of a mapping of ours by its number", { ...node, root: "/dm-1" }],
  ["the node of a mapping that is gone", { ...node, root: "/dm-3//deleted" }],
])("%s is unmounted", async (_what, mount) => {
  const mounter = new FakeMounter();
  mounter.mappingNames.set("253:1", "ublk-csi-1");
  mounter.lostDevices.add("253:3");
  mounter.entries.push(mount);
  await unmountAll("/t", mounter);
  expect(mounter.entries).toEqual([]);
});

test.each([
  ["the file system of a disk", { ...entry, source: "/dev/sda1" }],
  ["the file system of a logical volume", { ...entry, source: "/dev/mapper/vg-root" }],
  ["the node of a logical volume by its name", { ...node, root: "/mapper/vg-root" }],
  ["the node of a logical volume by its number", { ...node, root: "/dm-2" }],
])("%s is left alone", async (_what, mount) => {
  const mounter = new FakeMounter();
  mounter.mappingNames.set("253:2", "vg-root");
  mounter.entries.push(mount);
  expect(await rejectionOf(unmountAll("/t", mounter))).toMatchObject({ code: "refused" });
  expect(mounter.entries).toEqual([mount]);
});

const mapped = { ...entry, source: "/dev/mapper/ublk-csi-1" };

test.each([
  ["the file system of a mapping", { ...mapped, deviceNumber: "253:1" }],
  [
    "the btrfs of a mapping",
    { ...mapped, deviceNumber: "0:45", fsType: "btrfs", source: "/dev/mapper/ublk-csi-1/dm-1" },
  ],
  ["the node of a mapping", { ...node, root: "/dm-1" }],
])("%s is gone with the device below the mapping, and not before", async (_what, mount) => {
  const mounter = new FakeMounter();
  mounter.mappingNames.set("253:1", "ublk-csi-1");
  mounter.entries.push(mount);
  expect(await isGone(mount, mounter)).toBe(false);
  mounter.lostBases.add("253:1");
  expect(await isGone(mount, mounter)).toBe(true);
});

test("the file system of somebody else's mapping is never gone", async () => {
  const mounter = new FakeMounter();
  mounter.lostBases.add("253:0");
  expect(await isGone({ ...entry, source: "/dev/mapper/vg-root" }, mounter)).toBe(false);
});
