import { describe, expect, test } from "@jest/globals";
import { blockCapability, gibibyte, mebibyte, mountCapability } from "../../testing/workspace.js";
import type { VolumeCapability } from "../volume/volume.js";
import { type CapacityRange, chooseSizeBytes, isInRange } from "./capacity-range.js";

const choose = (range?: CapacityRange, logicalBlockSizeBytes = 512, capability: VolumeCapability = blockCapability) =>
  chooseSizeBytes(range, { logicalBlockSizeBytes, capabilities: [capability] });

describe("the size of a new volume", () => {
  test("is 1 GiB when none was asked for", () => expect(choose()).toBe(gibibyte));

  test("is exactly what was asked for when the block divides it", () => {
    expect(choose({ requiredBytes: 5n * mebibyte + 512n })).toBe(5n * mebibyte + 512n);
  });

  test("is rounded up to the block when the limit allows", () => {
    expect(choose({ requiredBytes: 5n * mebibyte + 1n, limitBytes: 5n * mebibyte + 512n })).toBe(5n * mebibyte + 512n);
    expect(choose({ requiredBytes: 5n * mebibyte + 1n }, 4096)).toBe(5n * mebibyte + 4096n);
  });

  test("stays below a limit without a requirement", () => {
    expect(choose({ limitBytes: 5n * mebibyte + 100n })).toBe(5n * mebibyte);
    expect(choose({ limitBytes: 5n * gibibyte })).toBe(gibibyte);
  });

  test("is raised to the smallest that works", () => {
    expect(choose({ requiredBytes: 1n })).toBe(mebibyte);
    expect(choose({ requiredBytes: mebibyte }, 512, { ...mountCapability, fsType: "xfs" } as VolumeCapability)).toBe(
      300n * mebibyte,
    );
  });

  test.each<[string, CapacityRange, string, string]>([
    ["zero", {}, "invalid", "a size of 0 bytes"],
    ["negative", { requiredBytes: -1n }, "invalid", "required_bytes is -1, it must not be negative"],
    ["a negative limit", { limitBytes: -4096n }, "invalid", "limit_bytes is -4096"],
    [
      "more than its limit",
      { requiredBytes: 2n * mebibyte, limitBytes: mebibyte },
      "invalid",
      "is more than limit_bytes",
    ],
    ["huge", { requiredBytes: 2n ** 63n - 1n }, "out_of_range", "the largest possible is 9007199221186560"],
    [
      "no multiple within the limit",
      { requiredBytes: 2097153n, limitBytes: 2097154n },
      "out_of_range",
      "a multiple of",
    ],
    ["below the smallest", { limitBytes: 4096n }, "out_of_range", "limit_bytes 4096 leaves no possible size"],
  ])("is refused when %s", (_case, range, code, text) => {
    expect(() => choose(range)).toThrow(expect.objectContaining({ code, message: expect.stringContaining(text) }));
  });

  test("is refused for xfs when the limit is too low", () => {
    const xfs = { ...mountCapability, fsType: "xfs" } as VolumeCapability;
    expect(() => choose({ limitBytes: 299n * mebibyte }, 512, xfs)).toThrow("at least 314572800");
  });
});

test("an existing size is compared with both bounds", () => {
  expect(isInRange(gibibyte, undefined)).toBe(true);
  expect(isInRange(gibibyte, { requiredBytes: gibibyte, limitBytes: gibibyte })).toBe(true);
  expect(isInRange(gibibyte, { requiredBytes: gibibyte + 1n })).toBe(false);
  expect(isInRange(gibibyte, { limitBytes: gibibyte - 1n })).toBe(false);
});
