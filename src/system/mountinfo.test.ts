import { expect, test } from "@jest/globals";
import { findMountOf, parseMountInfo, readMountInfo } from "./mountinfo.js";

test("reads device number, root, mount point, options, type and source", () => {
  const line = "36 35 259:3 / /mnt/volume rw,noatime shared:7 master:1 - ext4 /dev/ublkb3 rw,errors=continue\n";
  expect(parseMountInfo(line)).toEqual([
    {
      deviceNumber: "259:3",
      root: "/",
      mountPoint: "/mnt/volume",
      options: ["rw", "noatime"],
      fsType: "ext4",
      source: "/dev/ublkb3",
      superOptions: ["rw", "errors=continue"],
    },
  ]);
});

test("undoes escapes and copes with a mount without optional fields", () => {
  const line = "36 35 0:5 /ublkb0 /a\\040b\\134c ro - devtmpfs udev rw";
  expect(parseMountInfo(line)[0]).toMatchObject({ mountPoint: "/a b\\c", root: "/ublkb0", options: ["ro"] });
});

test("an empty source is kept", () => {
  expect(parseMountInfo("1 2 0:5 / /a rw - tmpfs  rw")[0]?.source).toBe("");
});

test("a line of unknown form is an error, not a missing mount", () => {
  expect(() => parseMountInfo("36 35 259:3 / /mnt")).toThrow("unknown form");
});

test("reads this process' own mounts", async () => {
  expect((await readMountInfo()).some((entry) => entry.mountPoint === "/proc")).toBe(true);
});

test("finds the mount that shows a path: the deepest one, and the later one of two at one place", () => {
  const lines = [
    "1 0 8:1 / / rw - ext4 /dev/sda1 rw",
    "2 1 8:2 / /data rw - xfs /dev/sda2 rw",
    "3 1 8:3 / /data rw - xfs /dev/sda3 rw",
    "4 3 8:4 / /data/deep rw - xfs /dev/sda4 rw",
  ];
  const mounts = parseMountInfo(lines.join("\n"));
  const found = ["/data", "/data/pool", "/data/deep/pool", "/database"].map((path) => findMountOf(path, mounts));
  expect(found.map((mount) => mount?.deviceNumber)).toEqual(["8:3", "8:3", "8:4", "8:1"]);
  expect(findMountOf("/elsewhere", mounts.slice(1))).toBeUndefined();
});
