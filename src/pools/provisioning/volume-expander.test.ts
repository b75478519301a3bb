import { mkdir, rmdir, stat, symlink, truncate } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { BlockDeviceError } from "../../engine/block-devices.js";
import { createSilentLogger } from "../../log.js";
import { toDeviceSpec } from "../../node/device-spec.js";
import { CommandError } from "../../system/command.js";
import {
  blockCapability,
  gibibyte,
  mebibyte,
  mountCapability,
  rejectionOf,
  runRealCommand,
  Workspace,
} from "../../testing/workspace.js";
import type { Volume, VolumeCapability } from "../volume/volume.js";
import { VolumeExpander } from "./volume-expander.js";
import { VolumeModifier } from "./volume-modifier.js";

let workspace: Workspace;

beforeEach(async () => {
  workspace = await Workspace.create();
});
afterEach(async () => await workspace.remove());

async function createVolume(parameters: Record<string, string> = {}, capability = mountCapability): Promise<Volume> {
  const range = { requiredBytes: 2n * mebibyte };
  return await workspace.provisioner.create({ name: "data", range, capabilities: [capability], parameters });
}

function expand(
  { id }: Volume,
  requiredBytes: bigint,
  more: { limitBytes?: bigint; capability?: VolumeCapability } = {},
) {
  const { limitBytes, capability } = more;
  const expander = new VolumeExpander(workspace.pools, workspace.blockDevices);
  return expander.expand({ volumeId: id, range: { requiredBytes, limitBytes }, capability });
}

async function attach(volume: Volume) {
  const spec = toDeviceSpec(volume, workspace.pools.poolOf(volume), mountCapability);
  return await workspace.blockDevices.attach(spec);
}

const imageOf = ({ id, pool }: Volume) => workspace.pools.find(pool)?.imagePath(id) ?? "";
const imageBytes = async (volume: Volume) => (await stat(imageOf(volume), { bigint: true })).size;
const bookedBytes = (volume: Volume) => workspace.pools.poolOf(volume).ledger.reservedBytes;

/** What a volume is to the next start of the driver. */
async function reopened({ id }: Volume): Promise<Volume> {
  await workspace.reopen();
  await workspace.pools.undoGrowths();
  return workspace.pools.getVolume(id);
}

describe("expanding a volume", () => {
  test.each(["thick", "thin"])("gives image, record and ledger exactly the new size (%s)", async (provisioning) => {
    const volume = await createVolume({ provisioning });
    expect(await expand(volume, 5n * mebibyte)).toEqual({ sizeBytes: 5n * mebibyte, needsNode: true });
    expect(await imageBytes(volume)).toBe(5n * mebibyte);
    expect(bookedBytes(volume)).toBe(5n * mebibyte);
    const allocatedBytes = (await stat(imageOf(volume), { bigint: true })).blocks * 512n;
    expect(allocatedBytes >= 5n * mebibyte).toBe(provisioning === "thick");
    const { sizeBytes, growingToBytes } = await reopened(volume);
    expect({ sizeBytes, growingToBytes }).toEqual({ sizeBytes: 5n * mebibyte, growingToBytes: undefined });
  });

  test("that is attached grows its device too, once", async () => {
    const volume = await createVolume();
    await attach(volume);
    for (let round = 0; round < 2; round++) await expand(volume, 4n * mebibyte);
    expect(await workspace.blockDevices.find(volume.id)).toMatchObject({ sizeBytes: 4n * mebibyte });
    expect(workspace.blockDevices.calls.filter((call) => call.startsWith("resize"))).toHaveLength(1);
  });

  test("to what it has, or less, is a success with the size it has", async () => {
    const volume = await createVolume();
    for (const requiredBytes of [2n * mebibyte, mebibyte]) {
      expect(await expand(volume, requiredBytes)).toMatchObject({ sizeBytes: 2n * mebibyte });
    }
  });

  test("rounds up to the logical block where the limit allows it", async () => {
    const volume = await createVolume({ logicalBlockSize: "4096" });
    expect(await expand(volume, 3n * mebibyte + 1n)).toMatchObject({ sizeBytes: 3n * mebibyte + 4096n });
  });

  test.each([
    ["for a file system", undefined, mountCapability, true],
    ["for block access", undefined, blockCapability, false],
    ["for block access, said by the caller", blockCapability, blockCapability, false],
  ])("asks the node to go on as the use demands: %s", async (_case, capability, made, needsNode) => {
    const volume = await createVolume({}, made);
    const more = capability === undefined ? {} : { capability };
    expect(await expand(volume, 3n * mebibyte, more)).toMatchObject({ needsNode });
  });

  test("of an encrypted block volume is finished by the node, which has to grow the mapping", async () => {
    const volume = await createVolume({ encryption: "luks2" }, blockCapability);
    expect(await expand(volume, 3n * mebibyte)).toMatchObject({ needsNode: true });
  });

  test.each<[string, bigint, object, string]>([
    ["a limit below what it has", 0n, { limitBytes: mebibyte }, "out_of_range"],
    ["no multiple of the block in the range", 3n * mebibyte + 1n, { limitBytes: 3n * mebibyte + 2n }, "out_of_range"],
    ["more than offsets can say", 2n ** 63n - 1n, {}, "out_of_range"],
    ["more than the pool has", gibibyte, {}, "no_space"],
    ["a limit below the requirement", 4n * mebibyte, { limitBytes: 3n * mebibyte }, "invalid"],
    ["another use than it was made for", 4n * mebibyte, { capability: blockCapability }, "invalid"],
  ])("is refused for %s, and leaves everything as it was", async (_case, requiredBytes, more, code) => {
    const volume = await createVolume({ pool: "memory" });
    expect(await rejectionOf(expand(volume, requiredBytes, more))).toMatchObject({ code });
    expect(await imageBytes(volume)).toBe(2n * mebibyte);
    expect(bookedBytes(volume)).toBe(2n * mebibyte);
    expect(await reopened(volume)).toEqual(volume);
  });

  test("names the logical block that no size in the range is a multiple of", async () => {
    const volume = await createVolume({ logicalBlockSize: "4096" });
    const error = await rejectionOf(expand(volume, 3n * mebibyte + 512n, { limitBytes: 3n * mebibyte + 1024n }));
    expect(error).toMatchObject({ code: "out_of_range", message: /multiple of the logical block of 4096/ });
  });

  test("on a file system that fills up half-way leaves nothing, and says so", async () => {
    const volume = await createVolume();
    workspace.runCommand = async (program) => {
      throw new CommandError(program, "exit code 1", { exitCode: 1, stderr: "No space left on device" });
    };
    expect(await rejectionOf(expand(volume, 3n * mebibyte))).toMatchObject({ code: "no_space" });
    expect(await imageBytes(volume)).toBe(2n * mebibyte);
    expect(bookedBytes(volume)).toBe(2n * mebibyte);
    expect(await reopened(volume)).toEqual(volume);
  });

  test("of a volume in use, on a kernel that cannot, is refused before anything changes; unstaged it works", async () => {
    const volume = await createVolume();
    await attach(volume);
    workspace.blockDevices.onlineResize = false;
    const error = await rejectionOf(expand(volume, 3n * mebibyte));
    expect(error).toMatchObject({ code: "refused", message: /UPDATE_SIZE \(first in kernel 6.16\).*unstage it/ });
    expect(await reopened(volume)).toEqual(volume);
    expect(await expand(volume, 2n * mebibyte)).toMatchObject({ sizeBytes: 2n * mebibyte });
    await workspace.blockDevices.detach(volume.id);
    expect(await expand(volume, 3n * mebibyte)).toMatchObject({ sizeBytes: 3n * mebibyte });
  });

  test("of a volume that does not exist is missing", async () => {
    const volume = await createVolume();
    expect(await rejectionOf(expand({ ...volume, id: "none" }, gibibyte))).toMatchObject({ code: "missing" });
  });
});

describe("an expansion that is interrupted", () => {
  const toBytes = 4n * mebibyte;

  test.each([2n, 3n, 4n])("with the image at %d MiB is taken back by the next start", async (size) => {
    const volume = await createVolume();
    await workspace.pools.updateVolume({ ...volume, growingToBytes: toBytes });
    await truncate(imageOf(volume), Number(size * mebibyte));
    expect(await reopened(volume)).toEqual(volume);
    expect(await imageBytes(volume)).toBe(2n * mebibyte);
    expect(bookedBytes(volume)).toBe(2n * mebibyte);
  });

  test("goes on when it is repeated, also to another size", async () => {
    const volume = await createVolume();
    await workspace.pools.updateVolume({ ...volume, growingToBytes: toBytes });
    await truncate(imageOf(volume), Number(toBytes));
    expect(await expand(volume, 3n * mebibyte)).toMatchObject({ sizeBytes: 3n * mebibyte });
    expect(await imageBytes(volume)).toBe(3n * mebibyte);
    expect(await reopened(volume)).toMatchObject({ sizeBytes: 3n * mebibyte });
  });

  test("between record and device is finished by a repetition", async () => {
    const volume = await createVolume();
    await attach(volume);
    const failing = expand(volume, toBytes);
    workspace.blockDevices.failure = new BlockDeviceError("unavailable", "the engine is gone");
    expect(await rejectionOf(failing)).toMatchObject({ code: "unavailable" });
    expect(await workspace.blockDevices.find(volume.id)).toMatchObject({ sizeBytes: 2n * mebibyte });
    expect(await expand(volume, toBytes)).toMatchObject({ sizeBytes: toBytes });
    expect(await workspace.blockDevices.find(volume.id)).toMatchObject({ sizeBytes: toBytes });
  });

  test("between record and device is finished by the next start", async () => {
    const volume = await createVolume();
    await attach(volume);
    await workspace.pools.growVolume(volume, toBytes);
    await workspace.reopen();
    await new VolumeExpander(workspace.pools, workspace.blockDevices).growDevices(createSilentLogger());
    expect(await workspace.blockDevices.find(volume.id)).toMatchObject({ sizeBytes: toBytes });
  });
});

describe("an expansion whose record cannot be written", () => {
  const toBytes = 4n * mebibyte;
  const asCreated = { sizeBytes: 2n * mebibyte };
  const modify = ({ id }: Volume) =>
    new VolumeModifier(workspace.pools, workspace.blockDevices).modify(id, { iops: "100" });
  const temporaryOf = (volume: Volume) => `${workspace.pools.poolOf(volume).recordPath(volume.id)}.tmp`;

  /** Does something once the image has grown, before the record says so. */
  function afterAllocation(work: () => Promise<unknown>): void {
    workspace.runCommand = async (...command) => {
      const result = await runRealCommand(...command);
      await work();
      return result;
    };
  }

  async function expectAsBefore(volume: Volume): Promise<void> {
    expect(workspace.pools.getVolume(volume.id)).toEqual(volume);
    expect(await imageBytes(volume)).toBe(2n * mebibyte);
    expect(bookedBytes(volume)).toBe(2n * mebibyte);
  }

  test("because the image has taken the last block is taken back, says so, and can be repeated", async () => {
    const volume = await createVolume();
    afterAllocation(() => symlink("/dev/full", temporaryOf(volume)));
    const message = `pool disk is full: the record of volume ${volume.id} does not fit`;
    expect(await rejectionOf(expand(volume, toBytes))).toMatchObject({ code: "no_space", message });
    await expectAsBefore(volume);
    workspace.runCommand = runRealCommand;
    expect(await expand(volume, toBytes)).toMatchObject({ sizeBytes: toBytes });
    expect(await reopened(volume)).toMatchObject({ sizeBytes: toBytes });
  });

  test("at its beginning leaves the image as it was", async () => {
    const volume = await createVolume();
    await symlink("/dev/full", temporaryOf(volume));
    expect(await rejectionOf(expand(volume, toBytes))).toMatchObject({ code: "no_space" });
    await expectAsBefore(volume);
    expect(await reopened(volume)).toEqual(volume);
  });

  test.each(["at its beginning", "at its end"])(
    "%s, nor that of its undoing, books nothing and ruins nothing",
    async (at) => {
      const volume = await createVolume();
      const fail = () => mkdir(temporaryOf(volume));
      if (at === "at its beginning") await fail();
      else afterAllocation(fail);
      await rejectionOf(expand(volume, toBytes));
      expect(bookedBytes(volume)).toBe(2n * mebibyte);
      await rmdir(temporaryOf(volume));
      await modify(volume);
      expect(await reopened(volume)).toEqual({ ...volume, limits: { iops: 100 }, asCreated });
      expect(await imageBytes(volume)).toBe(2n * mebibyte);
    },
  );

  describe("for sure, though it may be the larger one,", () => {
    /** The record is in its place, and the sync of its folder fails. */
    async function failAtSync(volume: Volume): Promise<void> {
      const pool = workspace.pools.poolOf(volume);
      const write = pool.writeVolume.bind(pool);
      pool.writeVolume = async (record) => {
        await write(record);
        if (record.sizeBytes === toBytes) throw Object.assign(new Error("EIO: fsync"), { code: "EIO" });
      };
      expect(await rejectionOf(expand(volume, toBytes))).toMatchObject({ message: "EIO: fsync" });
      pool.writeVolume = write;
      expect(await imageBytes(volume)).toBe(toBytes);
      expect(bookedBytes(volume)).toBe(toBytes);
    }

    test("is finished by a repetition or by the next start", async () => {
      const volume = await createVolume();
      await failAtSync(volume);
      expect(await reopened(volume)).toMatchObject({ sizeBytes: toBytes });
      expect(await expand(volume, toBytes)).toMatchObject({ sizeBytes: toBytes });
    });

    test("is taken back by the next start when something else was changed", async () => {
      const volume = await createVolume();
      await failAtSync(volume);
      await modify(volume);
      expect(await reopened(volume)).toEqual({ ...volume, limits: { iops: 100 }, asCreated });
      expect(await imageBytes(volume)).toBe(2n * mebibyte);
    });

    test("keeps its image when a repetition fails", async () => {
      const volume = await createVolume();
      await failAtSync(volume);
      await symlink("/dev/full", temporaryOf(volume));
      expect(await rejectionOf(expand(volume, 3n * mebibyte))).toMatchObject({ code: "no_space" });
      expect(bookedBytes(volume)).toBe(toBytes);
      expect(await reopened(volume)).toMatchObject({ sizeBytes: toBytes });
    });
  });
});

test("an image larger than a record that is not growing is still no usable volume", async () => {
  const volume = await createVolume();
  await truncate(imageOf(volume), Number(3n * mebibyte));
  await workspace.reopen();
  expect(() => workspace.pools.getVolume(volume.id)).toThrow(/has 3145728 bytes, the volume has 2097152/);
});
