import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { toDeviceSpec } from "../../node/device-spec.js";
import { mebibyte, mountCapability, rejectionOf, Workspace } from "../../testing/workspace.js";
import { VolumeModifier } from "../provisioning/volume-modifier.js";
import { effectiveLimits, parseLimits, parseMutableParameters } from "./limits.js";
import type { Volume } from "./volume.js";

describe("the parameters of a VolumeAttributesClass", () => {
  test("are read in the units of their names", () => {
    const parameters = {
      iops: "1000",
      readIops: "10",
      writeIops: "1000000000",
      bandwidth: "100Mi",
      readBandwidth: "1Mi",
      writeBandwidth: "1T",
      burst: "500ms",
    };
    expect(parseMutableParameters(parameters)).toEqual({
      iops: 1000,
      readIops: 10,
      writeIops: 10 ** 9,
      bytesPerSecond: 100 * 1024 ** 2,
      readBytesPerSecond: 1024 ** 2,
      writeBytesPerSecond: 10 ** 12,
      burstMs: 500,
    });
    expect(parseMutableParameters({ burst: "60s", iops: "unlimited" })).toEqual({ burstMs: 60_000, iops: "unlimited" });
  });

  test.each([
    [{ iops: "0" }, 'mutable parameter iops is "0", allowed is a number of operations from 10 to 1000000000'],
    [{ iops: "1e3" }, 'mutable parameter iops is "1e3"'],
    [{ iops: "1000000001" }, 'mutable parameter iops is "1000000001"'],
    [{ iops: "99999999999999999999" }, "allowed is a number of operations"],
    [{ bandwidth: "1Ki" }, 'mutable parameter bandwidth is "1Ki", allowed is bytes each second from 1Mi to 1T'],
    [{ bandwidth: "2T" }, "from 1Mi to 1T"],
    [{ burst: "500" }, 'mutable parameter burst is "500", allowed is a time from 1ms to 60s, such as 500ms'],
    [{ burst: "0ms" }, "allowed is a time"],
    [{ burst: "61s" }, "allowed is a time"],
    [{ IOPS: "100" }, 'mutable parameter "IOPS" is unknown, known are iops, readIops, writeIops, bandwidth'],
    [{ constructor: "100" }, 'mutable parameter "constructor" is unknown'],
    [{ pool: "disk" }, 'mutable parameter "pool" is unknown'],
  ])("%j is refused with what is allowed", (parameters, message) => {
    expect(() => parseMutableParameters(parameters as unknown as Record<string, string>)).toThrow(
      expect.objectContaining({ code: "invalid", message: expect.stringContaining(message) }),
    );
  });
});

test("a StorageClass has limits among its other parameters, or none", () => {
  expect(parseLimits({ pool: "disk", iops: "100" })).toEqual({ iops: 100 });
  expect(parseLimits({ pool: "disk" })).toBeUndefined();
});

describe("the limits of a volume", () => {
  let workspace: Workspace;

  beforeEach(async () => {
    workspace = await Workspace.create();
  });
  afterEach(async () => await workspace.remove());

  async function create(parameters = {}, mutableParameters = {}): Promise<Volume> {
    const range = { requiredBytes: 2n * mebibyte };
    const capabilities = [mountCapability];
    return await workspace.provisioner.create({ name: "data", range, capabilities, parameters, mutableParameters });
  }

  const attach = (volume: Volume) =>
    workspace.blockDevices.attach(toDeviceSpec(volume, workspace.pools.poolOf(volume), mountCapability));
  const modify = (id: string, parameters: Record<string, string>) =>
    new VolumeModifier(workspace.pools, workspace.blockDevices).modify(id, parameters);
  const limitsOf = (id: string) => effectiveLimits(workspace.pools.getVolume(id));

  test("are those of its StorageClass where its VolumeAttributesClass says nothing, or unlimited", async () => {
    const { id } = await create(
      { iops: "100", bandwidth: "2Mi", burst: "1s" },
      { iops: "200", bandwidth: "unlimited" },
    );
    expect(limitsOf(id)).toEqual({ iops: 200, burstMs: 1000 });
  });

  test("become those of another class as a whole, and stay so over a restart", async () => {
    const { id } = await create({ readIops: "70" }, { iops: "100", bandwidth: "2Mi" });
    await modify(id, { iops: "300" });
    await workspace.reopen();
    expect(limitsOf(id)).toEqual({ iops: 300, readIops: 70 });
  });

  test("reach the device at once when there is one, and again when the first time failed", async () => {
    const volume = await create();
    await modify(volume.id, { iops: "300" });
    expect(workspace.blockDevices.limits.size).toBe(0);
    await attach(volume);
    await modify(volume.id, { iops: "300" });
    expect(workspace.blockDevices.limits.get(volume.id)).toEqual({ iops: 300 });
    await modify(volume.id, { iops: "unlimited" });
    expect(workspace.blockDevices.limits.get(volume.id)).toEqual({});
  });

  test("that are refused change neither record nor device", async () => {
    const { id } = await create({}, { iops: "100" });
    const refused: Array<Record<string, string>> = [
      { iops: "200", burst: "1h" },
      { iops: "200", colour: "red" },
    ];
    for (const parameters of refused) {
      expect(await rejectionOf(modify(id, parameters))).toMatchObject({ code: "invalid" });
    }
    expect(limitsOf(id)).toEqual({ iops: 100 });
  });
});
