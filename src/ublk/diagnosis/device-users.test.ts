import { describe, expect, test } from "@jest/globals";
import { type DeviceUsersReader, describeUsers, findDeviceUsers } from "./device-users.js";

const root = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw";

interface FakeFiles {
  mounts?: string[];
  holders?: string[];
  claimed?: boolean;
  dev?: string;
  /** The backing file of loop0. */
  loopFile?: string;
  /** Another process, 77, in a mount namespace of its own. */
  otherMounts?: string[];
  /** What 77 has open, with the number of the device behind it. */
  open?: Record<string, string | undefined>;
}

function reader(fake: FakeFiles): DeviceUsersReader {
  const { mounts = [], holders = [], claimed = false, dev = "259:3\n", otherMounts = [], open = {} } = fake;
  const texts: Record<string, string | undefined> = {
    "/sys/block/ublkb3/dev": dev,
    "/proc/self/mountinfo": [root, ...mounts, ""].join("\n"),
    "/proc/77/mountinfo": [root, ...otherMounts, ""].join("\n"),
    "/proc/77/comm": "dd\n",
    "/sys/block/loop0/loop/backing_file": fake.loopFile,
  };
  const names: Record<string, string[]> = {
    "/sys/block/ublkb3/holders": [...holders],
    "/sys/block": ["loop0", "ublkb3", "vda"],
    "/proc": ["77", "self", "sys"],
    "/proc/77/fd": Object.keys(open).map((_path, index) => String(index)),
  };
  const openPaths = Object.keys(open);
  const links: Record<string, string | undefined> = { "/proc/self/ns/mnt": "mnt:[1]", "/proc/77/ns/mnt": "mnt:[2]" };
  return {
    readText: async (path) => texts[path],
    readNames: async (path) => names[path] ?? [],
    readLink: async (path) => links[path] ?? openPaths[Number(path.replace("/proc/77/fd/", ""))],
    readDeviceNumber: async (path) => open[openPaths[Number(path.replace("/proc/77/fd/", ""))] ?? ""],
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
  ["a dead namesake's node", "48 22 0:6 /ublkb3//deleted /pods/raw rw - devtmpfs devtmpfs rw", []],
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

  test("sees a mount in another process's namespace, once", async () => {
    const line = "40 22 259:3 / /mnt/a rw shared:2 - xfs /dev/ublkb3 rw";
    const other = "41 22 259:3 / /pods/a rw shared:2 - xfs /dev/ublkb3 rw";
    const users = await findDeviceUsers(3, true, reader({ mounts: [line], otherMounts: [line, other] }));
    expect(describeUsers(users)).toBe("mount /mnt/a, mount /pods/a");
  });

  test.each<[string, FakeFiles["open"], boolean]>([
    ["its node", { "/tmp/x": undefined, "/dev/ublkb3": "259:3" }, true],
    ["its node under another name", { "/dev/xvda": "259:3" }, true],
    ["another device's node", { "/dev/ublkb30": "259:30" }, false],
    ["a dead namesake's node", { "/dev/ublkb3": "259:9" }, false],
    ["a file outside of /dev, which is not even looked at", { "/nfs/ublkb3": "259:3" }, false],
  ])("a process has open %s", async (_what, open, isSeen) => {
    const users = await findDeviceUsers(3, false, reader({ open }));
    expect(users).toEqual(isSeen ? [{ kind: "process", name: "dd (77)" }] : []);
  });

  test("a process has open a raw block volume's node, wherever that is bound", async () => {
    const bound = "43 22 0:6 /ublkb3 /data/disk rw - devtmpfs devtmpfs rw";
    const users = await findDeviceUsers(3, true, reader({ otherMounts: [bound], open: { "/data/disk": "259:3" } }));
    expect(describeUsers(users)).toBe("mount /data/disk, process dd (77)");
  });

  test("names a loop device over it", async () => {
    const users = await findDeviceUsers(3, true, reader({ loopFile: "/dev/ublkb3\n" }));
    expect(users).toEqual([{ kind: "holder", name: "loop0" }]);
  });

  test("names eight users and counts the rest", () => {
    const users = Array.from({ length: 10 }, (_, index) => ({ kind: "holder", name: `dm-${index}` }) as const);
    expect(describeUsers(users)).toMatch(/^holder dm-0, .*holder dm-7 and 2 more$/);
  });

  test("finds nobody", async () => {
    expect(await findDeviceUsers(3, true, reader({}))).toEqual([]);
  });
});
