import { describe, expect, test } from "@jest/globals";
import { type DeviceUsersReader, findDeviceUsers } from "./device-users.js";

const root = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw";

interface FakeFiles {
  mounts?: string[];
  holders?: string[];
  claimed?: boolean;
  dev?: string;
}

function reader({ mounts = [], holders = [], claimed = false, dev = "259:3\n" }: FakeFiles): DeviceUsersReader {
  const texts: Record<string, string> = {
    "/sys/block/ublkb3/dev": dev,
    "/proc/self/mountinfo": [root, ...mounts, ""].join("\n"),
  };
  return {
    readText: async (path) => texts[path],
    readNames: async (path) => (path === "/sys/block/ublkb3/holders" ? holders : []),
    isClaimed: async (path) => path === "/dev/ublkb3" && claimed,
  };
}

const mountCases: [string, string, string[]][] = [
  ["a file system on it", "40 22 259:3 / /mnt/a rw shared:2 - xfs /dev/ublkb3 rw", ["/mnt/a"]],
  ["a sub-folder of it, bound", "41 22 259:3 /b /mnt/c rw - xfs /dev/ublkb3 rw", ["/mnt/c"]],
  ["a btrfs on it", "42 22 0:51 / /mnt/d rw - btrfs /dev/ublkb3 rw", ["/mnt/d"]],
  ["its node, bound into a pod", "43 22 0:6 /ublkb3 /pods/raw\\040one rw - devtmpfs devtmpfs rw", ["/pods/raw one"]],
  ["another device's file system", "44 22 259:30 / /mnt/e rw - xfs /dev/ublkb30 rw", []],
  ["another device's node", "45 22 0:6 /ublkb33 /pods/raw rw - devtmpfs devtmpfs rw", []],
  ["a dead namesake's file system", "46 22 259:9 / /mnt/f rw - xfs /dev/ublkb3 rw", []],
  ["a broken line", "47 22", []],
];

describe("findDeviceUsers", () => {
  test.each(mountCases)("%s", async (_what, line, names) => {
    const users = await findDeviceUsers(3, true, reader({ mounts: [line] }));
    expect(users).toEqual(names.map((name) => ({ kind: "mount", name })));
  });

  test("names the devices stacked on it", async () => {
    expect(await findDeviceUsers(3, true, reader({ holders: ["dm-0"] }))).toEqual([{ kind: "holder", name: "dm-0" }]);
  });

  test("sees an exclusive claim of a live device, and never opens one that waits for its server", async () => {
    expect(await findDeviceUsers(3, true, reader({ claimed: true }))).toMatchObject([{ kind: "exclusive" }]);
    expect(await findDeviceUsers(3, false, reader({ claimed: true }))).toEqual([]);
  });

  test("finds nobody", async () => {
    expect(await findDeviceUsers(3, true, reader({}))).toEqual([]);
  });
});
