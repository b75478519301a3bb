import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { Volume } from "../../pools/volume/volume.js";
import { CommandError } from "../../system/command.js";
import { mebibyte, mountCapability, rejectionOf, Workspace } from "../../testing/workspace.js";
import { noMapping } from "../mounts/device-mapping.js";
import type { NumberedDevice } from "../mounts/device-mounts.js";
import { toMappingName } from "../mounts/mapping-name.js";
import { FakeLuks } from "../testing/fake-luks.js";
import { VolumeDevices } from "../volume-devices.js";
import type { LuksHeader } from "./luks.js";
import { LuksMapping } from "./luks-mapping.js";
import type { MappedDevice } from "./mapped-devices.js";

let workspace: Workspace;
let luks: FakeLuks;
let mapping: LuksMapping;
let volume: Volume;
let device: NumberedDevice;

const secrets = { passphrase: "long enough" };
const encrypted = { encryption: "luks2" };

beforeEach(async () => {
  workspace = await Workspace.create();
  const { pools, filesystems, logger } = workspace;
  luks = new FakeLuks(filesystems);
  luks.sizeBytes = 2n * mebibyte;
  mapping = new LuksMapping({
    pools,
    luks,
    mappedDevices: luks,
    filesystems,
    logger,
    blankEnds: async () => undefined,
  });
  volume = await create("data");
  device = await attach(volume);
});

afterEach(() => workspace.remove());

async function create(name: string, parameters: Record<string, string> = encrypted): Promise<Volume> {
  const range = { requiredBytes: 2n * mebibyte };
  return await workspace.provisioner.create({ name, range, capabilities: [mountCapability], parameters });
}

/** The ublk device of a volume, without a mapping. */
async function attach({ id, parameters, ...rest }: Volume): Promise<NumberedDevice> {
  const clear = { ...rest, id, parameters: { ...parameters, encryption: undefined } };
  return await new VolumeDevices({ mapping: noMapping, ...workspace }).open(clear, mountCapability, {});
}

const mark = (name: "encrypting" | "encrypted") => workspace.pools.poolOf(volume).mark(volume.id, name);
const mapped = () => luks.mapped.get(toMappingName(volume.id));

function requireMapped(): MappedDevice {
  const found = mapped();
  if (found === undefined) throw new Error("the test expects a mapping");
  return found;
}

function changeHeader(change: Partial<LuksHeader & { cipher: string }>): void {
  const header = luks.headers.get(device.path);
  if (header === undefined) throw new Error("the test expects a header");
  luks.headers.set(device.path, { ...header, ...change });
}

describe("opening an encrypted volume", () => {
  test("encrypts a blank device, and users get the mapping with the volume's size", async () => {
    const users = await mapping.open(volume, device, secrets);
    expect(users).toMatchObject({ path: "/dev/dm-0", number: "253:0", sizeBytes: 2n * mebibyte });
    expect(luks.headers.get(device.path)).toMatchObject({ label: volume.id });
    expect(await mark("encrypting").isSet()).toBe(false);
    expect(await mark("encrypted").isSet()).toBe(true);
    expect(await mapping.find(device)).toEqual(users);
  });

  test("repeated it uses the mapping that is there, without the passphrase", async () => {
    await mapping.open(volume, device, secrets);
    await mapping.open(volume, device, {});
    expect(luks.calls).toEqual(["format", "open"]);
  });

  test("again it opens and never formats what it has encrypted", async () => {
    await mapping.open(volume, device, secrets);
    await mapping.close(volume.id);
    await mapping.open(volume, device, secrets);
    expect(luks.calls).toEqual(["format", "open", "close", "open"]);
  });

  test("starts over where a crash has cut encrypting short, with the mapping that it left", async () => {
    luks.failure = new Error("killed");
    await rejectionOf(mapping.open(volume, device, secrets));
    expect(await mark("encrypting").isSet()).toBe(true);
    await luks.open(device.path, Buffer.from("long enough"), {
      name: toMappingName(volume.id),
      readOnly: false,
      discard: false,
    });
    await mapping.open(volume, device, secrets);
    expect(luks.calls).toEqual(["format", "open", "close", "format", "open"]);
    expect(await mark("encrypting").isSet()).toBe(false);
  });

  test.each<[string, Partial<MappedDevice>]>([
    ["on another device", { below: ["ublkb9"] }],
    ["by another header", { uuid: "CRYPT-LUKS2-x" }],
  ])("a mapping of its name %s is closed and made anew", async (_what, change) => {
    await mapping.open(volume, device, secrets);
    luks.mapped.set(toMappingName(volume.id), { ...requireMapped(), ...change });
    await mapping.open(volume, device, secrets);
    expect(luks.calls).toEqual(["format", "open", "close", "open"]);
  });

  test("leaves no mapping when it fails after making it", async () => {
    await mapping.open(volume, device, secrets);
    await mapping.close(volume.id);
    luks.failure = new Error("broken");
    await rejectionOf(mapping.open(volume, device, secrets));
    expect(mapped()).toBeUndefined();
  });
});

describe("is refused", () => {
  test.each<[string, Record<string, string>, string]>([
    ["no passphrase", {}, "has no passphrase"],
    ["an empty one", { passphrase: "" }, "has no passphrase"],
    ["a short one", { passphrase: "1234567" }, "from 8 to 512 bytes"],
    ["a long one", { passphrase: "x".repeat(513) }, "from 8 to 512 bytes"],
  ])("%s, before anything is written", async (_what, given, reason) => {
    const error = await rejectionOf(mapping.open(volume, device, given));
    expect(error).toMatchObject({ code: "invalid", message: expect.stringContaining(reason) });
    expect(luks.calls).toEqual([]);
  });

  test("a wrong one, with the data kept", async () => {
    await mapping.open(volume, device, secrets);
    await mapping.close(volume.id);
    const error = await rejectionOf(mapping.open(volume, device, { passphrase: "something else" }));
    expect(error).toMatchObject({ code: "invalid" });
    expect(luks.calls).not.toContain("rename");
    await mapping.open(volume, device, secrets);
  });

  test("a device that holds data in the clear", async () => {
    workspace.filesystems.contents.set(device.path, "ext4");
    expect(await rejectionOf(mapping.open(volume, device, secrets))).toMatchObject({ code: "refused" });
    expect(luks.calls).toEqual([]);
  });

  test("a device that has lost its header", async () => {
    await mapping.open(volume, device, secrets);
    await mapping.close(volume.id);
    luks.headers.clear();
    workspace.filesystems.contents.clear();
    const error = await rejectionOf(mapping.open(volume, device, secrets));
    expect(error).toMatchObject({ code: "refused", message: expect.stringContaining("lost its LUKS header") });
  });

  test.each([
    ["of another volume", { label: "other" }],
    ["of somebody else", { subsystem: "" }],
    ["of another format", { version: "1" }],
    ["with another cipher", { cipher: "cipher_null-ecb" }],
  ])("a header %s", async (_what, change) => {
    await mapping.open(volume, device, secrets);
    await mapping.close(volume.id);
    changeHeader(change);
    expect(await rejectionOf(mapping.open(volume, device, secrets))).toMatchObject({ code: "refused" });
    expect(mapped()).toBeUndefined();
  });

  test("an encrypted volume on a node without encryption", async () => {
    expect(await rejectionOf(noMapping.open(volume, device, secrets))).toMatchObject({ code: "refused" });
  });
});

describe("a copy", () => {
  let copy: Volume;
  let copyDevice: NumberedDevice;

  beforeEach(async () => {
    await mapping.open(volume, device, secrets);
    await mapping.close(volume.id);
    copy = { ...(await create("copy")), contentSource: { kind: "volume", volumeId: volume.id } };
    copyDevice = await attach(copy);
    copyHeader();
    workspace.filesystems.contents.set(copyDevice.path, "crypto_LUKS");
  });

  /** Whatever the copy has becomes what its source has. */
  function copyHeader(): void {
    const header = luks.headers.get(device.path);
    if (header === undefined) throw new Error("the source has no header");
    luks.headers.set(copyDevice.path, { ...header });
  }

  const headerOfCopy = () => luks.headers.get(copyDevice.path);
  const uuidOfSource = () => luks.headers.get(device.path)?.uuid;

  async function expectBound(): Promise<void> {
    expect(headerOfCopy()).toMatchObject({ label: copy.id });
    expect(headerOfCopy()?.uuid).not.toBe(uuidOfSource());
    await mapping.close(copy.id);
    copyHeader();
    expect(await rejectionOf(mapping.open(copy, copyDevice, secrets))).toMatchObject({ code: "refused" });
  }

  test("is given a header of its own once, and then no other is taken", async () => {
    await mapping.open(copy, copyDevice, secrets);
    await expectBound();
  });

  test("has it for good also when a crash came right after the header was changed", async () => {
    luks.failure = new Error("killed");
    await rejectionOf(mapping.open(copy, copyDevice, secrets));
    expect(headerOfCopy()).toMatchObject({ label: copy.id });
    await mapping.open(copy, copyDevice, secrets);
    await expectBound();
  });

  test("keeps its source's header while it is only read, and has its own with the first use that may write", async () => {
    await mapping.open(copy, { ...copyDevice, readOnly: true }, secrets);
    expect(headerOfCopy()).toMatchObject({ label: volume.id, uuid: uuidOfSource() });
    await mapping.close(copy.id);
    await mapping.open(copy, copyDevice, secrets);
    await expectBound();
  });

  test("that has lost its header is never taken for a blank one, even if nobody could write to it so far", async () => {
    await mapping.open(copy, { ...copyDevice, readOnly: true }, secrets);
    await mapping.close(copy.id);
    luks.headers.delete(copyDevice.path);
    workspace.filesystems.contents.delete(copyDevice.path);
    const error = await rejectionOf(mapping.open(copy, copyDevice, secrets));
    expect(error).toMatchObject({ code: "refused", message: expect.stringContaining("lost its LUKS header") });
  });
});

describe("a mapping whose device is dead", () => {
  const open = () => new VolumeDevices({ ...workspace, mapping }).open(volume, mountCapability, secrets);

  beforeEach(async () => {
    await open();
    const dead = { ...device, state: "dead" } as const;
    const { blockDevices } = workspace;
    // The kernel has the dead one for as long as the mapping lies on it.
    const attach = blockDevices.attach.bind(blockDevices);
    blockDevices.find = async () => dead;
    blockDevices.attach = async (spec) => {
      if (mapped() !== undefined) throw new Error(`${device.path} has not let go`);
      return await attach(spec);
    };
  });

  test("is closed before the volume gets another device, and made again", async () => {
    luks.calls.length = 0;
    expect(await open()).toMatchObject({ path: "/dev/dm-0" });
    expect(luks.calls).toEqual(["close", "open"]);
  });

  test("and is in use is refused", async () => {
    luks.close = () => Promise.reject(new CommandError("cryptsetup close", "exit code 5", { exitCode: 5 }));
    const message = expect.stringContaining("in use: unpublish and unstage it first");
    expect(await rejectionOf(open())).toMatchObject({ code: "refused", message });
  });
});

test("a mapping grows with its device, and needs the passphrase only for that", async () => {
  await mapping.open(volume, device, secrets);
  const grown = { ...device, sizeBytes: 20n * mebibyte };
  await mapping.grow(volume, device, {});
  luks.sizeBytes = 4n * mebibyte;
  expect(await rejectionOf(mapping.grow(volume, grown, {}))).toMatchObject({ code: "invalid" });
  await mapping.grow(volume, grown, secrets);
  expect(mapped()?.sizeBytes).toBe(4n * mebibyte);
});

test("volumes that are not encrypted have no mapping", async () => {
  const plain = await create("plain", {});
  const plainDevice = await attach(plain);
  expect(await mapping.open(plain, plainDevice, {})).toBe(plainDevice);
  expect(await mapping.find(plainDevice)).toBe(plainDevice);
  await mapping.close(plain.id);
  expect(luks.calls).toEqual([]);
});
