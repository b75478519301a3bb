import { expect, test } from "@jest/globals";
import { UblkError } from "./errors.js";
import { type Limits, toNativeLimits, unlimited } from "./limits.js";

const none = {
  readIops: 0,
  writeIops: 0,
  iops: 0,
  readBytesPerSecond: 0,
  writeBytesPerSecond: 0,
  bytesPerSecond: 0,
  burstMs: 20,
};

test("what is absent has no limit", () => {
  expect(unlimited).toEqual(none);
  expect(toNativeLimits({ readIops: 10, bytesPerSecond: 1n << 30n, burstMs: 500 }, "setLimits")).toEqual({
    ...none,
    readIops: 10,
    bytesPerSecond: 2 ** 30,
    burstMs: 500,
  });
});

const refused: [string, unknown, string][] = [
  [
    "zero",
    { iops: 0 },
    "limits.iops is 0; expected a whole number from 1 to 1000000000000: leave iops out to have no limit",
  ],
  ["zero as a bigint", { iops: 0n }, "limits.iops is 0; expected a whole number from 1"],
  ["less than zero", { readIops: -1 }, "limits.readIops is -1"],
  ["a fraction", { writeIops: 0.5 }, "limits.writeIops is 0.5"],
  ["a text", { bytesPerSecond: "1M" }, 'limits.bytesPerSecond is "1M"'],
  ["no number", { iops: Number.NaN }, "limits.iops is NaN"],
  ["too much", { writeBytesPerSecond: 10n ** 13n }, "limits.writeBytesPerSecond is 10000000000000"],
  ["no burst", { burstMs: 0 }, "limits.burstMs is 0; expected a whole number from 1 to 60000"],
  ["an unknown name", { readIOPS: 1 }, 'limits: the unknown name is "readIOPS"; expected one of readIops'],
  ["nothing", null, "limits is null; expected an object"],
];

test.each(refused)("refuses %s", (_what, limits, message) => {
  const call = () => toNativeLimits(limits as Limits, "setLimits");
  expect(call).toThrow(UblkError);
  expect(call).toThrow(message);
});
