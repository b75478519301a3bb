import { mkdtemp, open, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { FormatOptions } from "../../pools/volume/format-options.js";
import type { FsType } from "../../pools/volume/volume.js";
import { CommandError } from "../../system/command.js";
import { rejectionOf, runRealCommand } from "../../testing/workspace.js";
import { LinuxFilesystems } from "./filesystems.js";

// blkid and mkfs take a plain file for a device, so these tests use the real programs.
const filesystems = new LinuxFilesystems(runRealCommand);
let directory: string;
let device: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "ublk-csi-test-"));
  device = join(directory, "device");
  await writeFile(device, "");
  await truncate(device, 16 * 1024 * 1024);
});

afterEach(() => rm(directory, { recursive: true }));

async function writeAt(offset: number, bytes: Buffer): Promise<void> {
  const file = await open(device, "r+");
  await file.write(bytes, 0, bytes.length, offset);
  await file.close();
}

describe("looking at a device", () => {
  test("a blank one holds nothing", async () => {
    expect(await filesystems.probe(device)).toBeUndefined();
  });

  test("finds the file system that was made, and the device is formatted once only", async () => {
    await filesystems.toolsOf("ext4").format(device, { discard: false, options: {} });
    expect(await filesystems.probe(device)).toBe("ext4");
  });

  test("a wiped one has nothing that has a name, and is not blank for that", async () => {
    await filesystems.toolsOf("ext4").format(device, { discard: false, options: {} });
    await filesystems.wipe(device);
    expect(await filesystems.probe(device)).toBe("data of unknown kind");
  });

  test("a device that does not answer is unavailable, and not blank", async () => {
    const late = new CommandError("blkid", "no result", { timedOut: true });
    const error = await rejectionOf(new LinuxFilesystems(() => Promise.reject(late)).probe(device));
    expect(error).toMatchObject({ code: "unavailable", message: /device has not answered for 60 s/ });
  });

  test.each([0, 65_536, 1024 ** 2 - 1])(
    "one with a byte at %d is not blank, though nobody knows it",
    async (offset) => {
      await writeAt(offset, Buffer.from([1]));
      expect(await filesystems.probe(device)).toBe("data of unknown kind");
    },
  );

  test("one of which a block cannot be read is not blank, though blkid says that it found nothing", async () => {
    await filesystems.toolsOf("ext4").format(device, { discard: false, options: {} });
    const found = new CommandError("blkid", "exit code 2", { exitCode: 2 });
    expect(await new LinuxFilesystems(() => Promise.reject(found)).probe(device)).toBe("data of unknown kind");
    const error = await rejectionOf(new LinuxFilesystems(() => Promise.reject(found)).probe("/proc/self/mem"));
    expect(error.message).toMatch(/^cannot read \/proc\/self\/mem: EIO/);
  });

  test("one smaller than what is looked at is blank when all of it is", async () => {
    await truncate(device, 4096);
    expect(await filesystems.probe(device)).toBeUndefined();
  });

  test("finds what is not a file system", async () => {
    await writeAt(0, Buffer.from("LUKS\xba\xbe\x00\x01", "latin1"));
    expect(await filesystems.probe(device)).toBe("crypto_LUKS");
  });

  test("finds a partition table", async () => {
    const bootRecord = Buffer.alloc(512);
    bootRecord[450] = 0x83; // the first partition's type, then where it starts and its length in sectors
    bootRecord.writeUInt32LE(2048, 454);
    bootRecord.writeUInt32LE(1000, 458);
    bootRecord.writeUInt16LE(0xaa55, 510);
    await writeAt(0, bootRecord);
    expect(await filesystems.probe(device)).toBe("a dos partition table");
  });

  test("a device that cannot be read is an error, and not blank", async () => {
    const error = await rejectionOf(filesystems.probe(join(directory, "missing")));
    expect(error).toMatchObject({ code: "internal", message: /cannot read .*missing/ });
  });

  test.each([
    ["says nothing but complains", { exitCode: 2, stderr: "blkid: error: input/output error" }],
    ["says nothing but prints", { exitCode: 2, stdout: "MYSTERY=1" }],
    ["fails", { exitCode: 4 }],
  ])("when blkid %s, that is an error, and not blank", async (_case, details) => {
    const failing = new LinuxFilesystems(() => Promise.reject(new CommandError("blkid", "failed", details)));
    expect(await rejectionOf(failing.probe(device))).toBeInstanceOf(CommandError);
  });

  test("signatures of two kinds are data", async () => {
    const ambivalent = new CommandError("blkid", "exit code 8", { exitCode: 8 });
    expect(await new LinuxFilesystems(() => Promise.reject(ambivalent)).probe(device)).toBe(
      "signatures of more than one kind",
    );
  });
});

describe("making a file system", () => {
  const commandsFor = async (fsType: FsType, discard: boolean, options: FormatOptions = {}) => {
    const commands: string[] = [];
    const recording = new LinuxFilesystems(async (program, args) => {
      commands.push([program, ...args].join(" "));
      return { stdout: "", stderr: "" };
    });
    await recording.toolsOf(fsType).format("/dev/ublkb0", { discard, options });
    return commands;
  };

  test.each([
    ["ext4", false, "mkfs.ext4 -q -m 0 -E nodiscard /dev/ublkb0"],
    ["ext4", true, "mkfs.ext4 -q -m 0 -E discard /dev/ublkb0"],
    ["xfs", false, "mkfs.xfs -q -K /dev/ublkb0"],
    ["xfs", true, "mkfs.xfs -q /dev/ublkb0"],
    ["btrfs", false, "mkfs.btrfs -q -K /dev/ublkb0"],
    ["btrfs", true, "mkfs.btrfs -q /dev/ublkb0"],
  ] as const)("%s with discard %s runs: %s", async (fsType, discard, command) => {
    expect(await commandsFor(fsType, discard)).toEqual([command]);
  });

  test.each<[FormatOptions, string]>([
    [
      {
        ext4: {
          blockSizeBytes: 2048,
          bytesPerInode: 8192,
          inodeSizeBytes: 512,
          reservedBlocksPercent: 5,
          lazyInit: false,
        },
      },
      "mkfs.ext4 -q -m 5 -b 2048 -i 8192 -I 512 -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 /dev/ublkb0",
    ],
    [
      { xfs: { blockSizeBytes: 4096, inodeSizeBytes: 1024, reflink: false, stripeUnitBytes: 65536, stripeWidth: 4 } },
      "mkfs.xfs -q -K -b size=4096 -i size=1024 -m reflink=0 -d su=65536,sw=4 /dev/ublkb0",
    ],
    [
      { btrfs: { nodeSizeBytes: 4096, metadataProfile: "single", checksum: "xxhash" } },
      "mkfs.btrfs -q -K -n 4096 -m single --csum xxhash /dev/ublkb0",
    ],
  ])("%j runs: %s", async (options, command) => {
    const [fsType] = Object.keys(options) as [FsType];
    expect(await commandsFor(fsType, false, options)).toEqual([command]);
  });

  test("that fails keeps mkfs' own words", async () => {
    await truncate(device, 1024);
    const error = await rejectionOf(filesystems.toolsOf("ext4").format(device, { discard: false, options: {} }));
    expect(error.message).toMatch(/^mkfs\.ext4 -q .*: exit code 1: .*/s);
    expect((await readFile(device)).length).toBe(1024);
  });
});

describe("an ext4 file system", () => {
  const { repair, renewIdentity, diagnose } = filesystems.toolsOf("ext4");

  beforeEach(() => filesystems.toolsOf("ext4").format(device, { discard: false, options: {} }));

  const readUuid = async () => (await runRealCommand("blkid", ["-p", "-o", "value", "-s", "UUID", device])).stdout;

  test.each([
    ["is clean", "1"],
    ["was not unmounted", "0"],
  ])("that %s is good after a repair", async (_case, state) => {
    await runRealCommand("debugfs", ["-w", "-R", `set_super_value state ${state}`, device]);
    await repair(device);
    expect(await diagnose(device)).not.toContain("exit code");
  });

  test("whose errors need a decision is refused, with the checker's words and what to do", async () => {
    await runRealCommand("debugfs", ["-w", "-R", "clri <2>", device]); // the root directory
    await runRealCommand("debugfs", ["-w", "-R", "set_super_value state 0", device]);
    const error = await rejectionOf(repair(device));
    expect(error).toMatchObject({ code: "refused", message: /copy the image, then run e2fsck .*oot inode/s });
  });

  test("that cannot be checked is not said to have errors", async () => {
    const error = await rejectionOf(repair(join(directory, "missing")));
    expect(error).toMatchObject({
      code: "internal",
      message: /could not check .*missing, .*exit code 8: .*No such file/s,
    });
  });

  test("gets another uuid, with nothing else wrong afterwards", async () => {
    const before = await readUuid();
    await renewIdentity(device, { scratchPath: directory });
    expect(await readUuid()).not.toBe(before);
    expect(await diagnose(device)).not.toContain("exit code");
  });
});

test("a copied btrfs without a log gets another uuid by one change of its superblock", async () => {
  await truncate(device, 128 * 1024 * 1024);
  const btrfs = filesystems.toolsOf("btrfs");
  await btrfs.format(device, { discard: false, options: {} });
  const readUuid = async () => (await runRealCommand("blkid", ["-p", "-o", "value", "-s", "UUID", device])).stdout;
  const before = await readUuid();
  await btrfs.renewIdentity(device, { scratchPath: directory });
  expect(await readUuid()).not.toBe(before);
  expect(await btrfs.diagnose(device)).not.toContain("exit code");
});
