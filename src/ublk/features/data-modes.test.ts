import { describe, expect, test } from "@jest/globals";
import { UblkError } from "../errors.js";
import type { DeviceOptions, DeviceParams } from "../options.js";
import { FakeAddon } from "../testing/fake-addon.js";
import { FakeKernel } from "../testing/fake-kernel.js";
import { reader } from "../testing/fake-machine.js";
import { Ublk } from "../ublk.js";
import { type DataMode, dataModeNames, dataModes, toDataMode } from "./data-modes.js";
import { floorMask, toMask } from "./features.js";

const everything = floorMask | toMask("SUPPORT_ZERO_COPY", "AUTO_BUF_REG", "BATCH_IO");
const memory: DeviceParams = { target: { kind: "memory" }, sizeBytes: 1 << 20 };
const nothing: DeviceParams = { target: { kind: "null" }, sizeBytes: 1 << 20 };

function start(features: bigint) {
  const kernel = new FakeKernel();
  kernel.features = features;
  const addon = new FakeAddon(kernel, 100);
  return { addon, ublk: new Ublk(addon, reader({}), async () => kernel.deviceIds()) };
}

async function failure(features: bigint, params: DeviceParams, options: DeviceOptions): Promise<UblkError> {
  const error = await start(features)
    .ublk.createAndServe(params, options)
    .catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(UblkError);
  return error as UblkError;
}

describe("a mode that was asked for", () => {
  test.each(dataModeNames)("%s is what the device has", async (dataMode) => {
    const { addon, ublk } = start(everything);
    const device = await ublk.createAndServe(memory, { dataMode });
    expect(device.dataMode).toBe(dataMode);
    expect(toDataMode(device.features)).toBe(dataMode);
    const { features } = addon.specs[0] ?? { features: 0n };
    const others = dataModeNames.flatMap((name) => dataModes[name].features);
    for (const name of others) {
      expect((features & toMask(name)) !== 0n).toBe(dataModes[dataMode].features.includes(name));
    }
  });

  test("is refused with the feature and its first kernel where it is missing", async () => {
    const error = await failure(floorMask, memory, { dataMode: "auto-zero-copy" });
    expect(error.code).toBe("feature_missing");
    expect(error.message).toContain("SUPPORT_ZERO_COPY (first in kernel 6.15)");
    expect(error.message).toContain("AUTO_BUF_REG (first in kernel 6.16)");
  });

  test("is refused where the target cannot be served in it", async () => {
    const error = await failure(everything, nothing, { dataMode: "zero-copy" });
    expect(error.message).toContain("a null target cannot be served in the data mode zero-copy, only memory and file");
  });

  test("is refused when it is none", async () => {
    const error = await failure(everything, nothing, { dataMode: "magic" as DataMode });
    expect(error.message).toContain('dataMode is "magic"; expected one of auto, copy, get-data,');
  });
});

describe("auto", () => {
  const choices: [string, bigint, DeviceParams["target"], DataMode][] = [
    ["a file on a new kernel", everything, { kind: "file", path: import.meta.filename }, "auto-zero-copy"],
    ["a file on an old kernel", floorMask, { kind: "file", path: import.meta.filename }, "copy"],
    ["memory", floorMask, { kind: "memory" }, "user-copy"],
    ["nothing", everything, { kind: "null" }, "copy"],
  ];
  test.each(choices)("%s", async (_name, features, target, dataMode) => {
    const device = await start(features).ublk.createAndServe({ target, sizeBytes: 512 });
    expect(device.dataMode).toBe(dataMode);
    expect(device.batch).toBe(false);
  });
});

describe("batches", () => {
  test("are a requirement when they are asked for", async () => {
    const options = { batch: "on", allowBrokenKernel: true } as const;
    expect((await start(everything).ublk.createAndServe(nothing, options)).batch).toBe(true);
    const error = await failure(floorMask, nothing, options);
    expect(error.message).toContain("BATCH_IO (first in kernel 7.0)");
  });

  test("are refused on a kernel that is not to be trusted with them", async () => {
    const error = await failure(everything, nothing, { batch: "on" });
    expect(error.message).toContain("it may write to the memory of another process");
  });
});
