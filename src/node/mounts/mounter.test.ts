import { mkdir, mkdtemp, rm, statfs, writeFile } from "node:fs/promises";
import { expect, test } from "@jest/globals";
import { CommandError } from "../../system/command.js";
import { rejectionOf, runRealCommand } from "../../testing/workspace.js";
import { readVolumeCountMax } from "../volume-limit.js";
import { formatDeviceNumber, LinuxMounter } from "./mounter.js";

function createRecorder(): { mounter: LinuxMounter; commands: string[] } {
  const commands: string[] = [];
  const mounter = new LinuxMounter(async (program, args) => {
    commands.push([program, ...args].join(" "));
    return { stdout: "", stderr: "" };
  });
  return { mounter, commands };
}

test("runs util-linux with the options in one argument", async () => {
  const { mounter, commands } = createRecorder();
  await mounter.mount({ source: "/dev/ublkb0", target: "/staging", fsType: "xfs", options: ["ro", "noatime"] });
  await mounter.mount({ source: "/dev/ublkb0", target: "/staging", fsType: "ext4", options: [] });
  await mounter.bind({ source: "/staging", target: "/pod", readOnly: true });
  await mounter.bind({ source: "/staging", target: "/pod", readOnly: false });
  await mounter.unmount("/pod");
  await mounter.setDeviceReadOnly("/dev/ublkb0", true);
  await mounter.setDeviceReadOnly("/dev/ublkb0", false);
  expect(commands).toEqual([
    "mount -t xfs -o ro,noatime /dev/ublkb0 /staging",
    "mount -t ext4 /dev/ublkb0 /staging",
    "mount -o bind,ro /staging /pod",
    "mount -o bind /staging /pod",
    "umount --no-canonicalize /pod",
    "blockdev --setro /dev/ublkb0",
    "blockdev --setrw /dev/ublkb0",
  ]);
});

test("splits a device number as the kernel's mount table writes it", () => {
  expect(formatDeviceNumber(0x10303n)).toBe("259:3");
  expect(formatDeviceNumber((0x103n << 8n) | 0x2an | (0x123n << 20n))).toBe(`259:${0x1232a}`);
});

test("what is not a block device has no number", async () => {
  const { mounter } = createRecorder();
  expect(await mounter.findDeviceNumber("/dev/null")).toBeUndefined();
  expect(await mounter.findDeviceNumber("/nonexistent/path")).toBeUndefined();
});

test("a directory that can be looked into has no fault, whatever is in it", async () => {
  const directory = await mkdtemp("/tmp/ublk-csi-test-");
  const mounter = new LinuxMounter(runRealCommand);
  expect(await mounter.findAccessFault(directory)).toBeUndefined();
  await mkdir(`${directory}/folder`);
  expect(await mounter.findAccessFault(directory)).toBeUndefined();
  await rm(directory, { recursive: true });
});

test.each(["Input/output error", "Bad message", "Structure needs cleaning", "Transport endpoint is not connected"])(
  "a directory that answers with %s has that fault",
  async (text) => {
    const stderr = `find: '/staging': ${text}\n`;
    const failing = new CommandError("find", "exit code 1", { exitCode: 1, stderr });
    const mounter = new LinuxMounter(() => Promise.reject(failing));
    expect(await mounter.findAccessFault("/staging")).toBe(stderr.trim());
  },
);

test("a directory is not at fault when it does not answer, or nothing can be run to look at it", async () => {
  const late = new CommandError("find", "no result", { timedOut: true });
  const unavailable = { code: "unavailable", message: expect.stringContaining("/staging has not answered") };
  const findFault = (error: Error) => new LinuxMounter(() => Promise.reject(error)).findAccessFault("/staging");
  expect(await rejectionOf(findFault(late))).toMatchObject(unavailable);
  const missing = new CommandError("find", "program not found", {});
  expect(await rejectionOf(findFault(missing))).toBe(missing);
});

test("the space of a file system is what statfs says", async () => {
  const space = await new LinuxMounter(runRealCommand).readSpace("/proc");
  const { bsize, blocks, bfree, bavail, files, ffree } = await statfs("/proc", { bigint: true });
  expect(Object.values(space)).toEqual([bsize, blocks, bfree, bavail, files, ffree]);
});

test.each([
  ["6.15.0-rc1", 0n],
  ["7.3.0", 0n],
  ["6.12.94+deb13", 64n],
  ["5.15.0", 64n],
])("on kernel %s the limit on devices is %s volumes", async (release, expected) => {
  const directory = await mkdtemp("/tmp/ublk-csi-test-");
  await writeFile(`${directory}/ublks_max`, "64\n");
  expect(await readVolumeCountMax(release, `${directory}/ublks_max`)).toBe(expected);
  await rm(directory, { recursive: true });
});

test("without the module's parameter there is no limit to report", async () => {
  expect(await readVolumeCountMax("6.1.0", "/nonexistent")).toBe(0n);
});
