import { describe, expect, test } from "@jest/globals";
import { findUblkBelow, type StackReader, toDeviceNumber } from "./stacking.js";

/** A machine from its files: numbers of paths, folders of numbers, texts below the folders. */
function machine(paths: Record<string, string>, folders: Record<string, string>, texts: Record<string, string> = {}) {
  const reader: StackReader = {
    readDeviceNumber: async (path) => paths[path],
    findFolder: async (number) => folders[number],
    readText: async (path) => texts[path],
    readNames: async (path) => {
      const names = Object.keys(texts).filter((name) => name.startsWith(`${path}/`));
      return [...new Set(names.map((name) => name.slice(path.length + 1).split("/")[0] ?? ""))];
    },
  };
  return reader;
}

const ublk3 = "/sys/devices/virtual/block/ublkb3";

describe("findUblkBelow", () => {
  test("finds none below a file on a disk, or where there is no disk", async () => {
    const reader = machine({ "/srv/a": "8:1", "/tmp/a": "0:33" }, { "8:1": "/sys/devices/pci/block/sda/sda1" });
    expect(await findUblkBelow("/srv/a", reader)).toEqual([]);
    expect(await findUblkBelow("/tmp/a", reader)).toEqual([]);
    expect(await findUblkBelow("/none", reader)).toEqual([]);
  });

  test("finds a ublk device itself and a file on it", async () => {
    const reader = machine({ "/dev/ublkb3": "259:3", "/mnt/a": "259:3" }, { "259:3": ublk3 });
    expect(await findUblkBelow("/dev/ublkb3", reader)).toEqual([3]);
    expect(await findUblkBelow("/mnt/a", reader)).toEqual([3]);
  });

  test("finds it below a partition", async () => {
    const reader = machine(
      { "/mnt/a": "259:4" },
      { "259:4": `${ublk3}/ublkb3p1` },
      { [`${ublk3}/ublkb3p1/partition`]: "1\n" },
    );
    expect(await findUblkBelow("/mnt/a", reader)).toEqual([3]);
  });

  test("finds all of them below a device-mapper device, however deep", async () => {
    const dm = "/sys/devices/virtual/block";
    const folders = { "254:1": `${dm}/dm-1`, "254:0": `${dm}/dm-0`, "259:3": ublk3, "259:7": `${dm}/ublkb7` };
    const reader = machine({ "/dev/mapper/top": "254:1" }, folders, {
      [`${dm}/dm-1/slaves/dm-0/dev`]: "254:0\n",
      [`${dm}/dm-0/slaves/ublkb7/dev`]: "259:7\n",
      [`${dm}/dm-0/slaves/ublkb3/dev`]: "259:3\n",
    });
    expect(await findUblkBelow("/dev/mapper/top", reader)).toEqual([3, 7]);
  });

  test("finds it below the file of a loop device", async () => {
    const loop = "/sys/devices/virtual/block/loop0";
    const reader = machine(
      { "/dev/loop0": "7:0", "/mnt/image": "259:3" },
      { "7:0": loop, "259:3": ublk3 },
      {
        [`${loop}/loop/backing_file`]: "/mnt/image\n",
      },
    );
    expect(await findUblkBelow("/dev/loop0", reader)).toEqual([3]);
  });
});

test.each([
  [0x801, "8:1"],
  [0x10302, "259:2"],
  [(259 << 8) | 0x03 | (0x100 * 2 ** 12), "259:259"],
])("toDeviceNumber takes %p apart", (device, number) => {
  expect(toDeviceNumber(device)).toBe(number);
});
