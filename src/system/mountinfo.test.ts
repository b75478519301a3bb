import { expect, test } from "@jest/globals";
import { parseMountInfo, readMountInfo } from "./mountinfo.js";

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
