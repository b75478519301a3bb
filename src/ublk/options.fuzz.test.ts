import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { checkProperty } from "../testing/properties.js";
import { UblkError } from "./errors.js";
import { type DeviceOptions, type DeviceParams, validateOptions } from "./options.js";

const optionNames = [
  ...["deviceId", "queueCount", "queueDepth", "maxIoBytes", "logicalBlockSizeBytes", "readOnly", "discard"],
  ...["recoverable", "ownerTag", "direct", "unprivileged", "dataMode", "batch", "cpus", "features", "limits"],
];
const options = fc.dictionary(fc.oneof(fc.constantFrom(...optionNames), fc.string()), fc.anything());
const targets = fc.oneof(
  fc.anything(),
  fc.record({ kind: fc.constantFrom("file", "memory", "null"), path: fc.anything() }),
);
const params = fc.record({ target: targets, sizeBytes: fc.anything() }, { requiredKeys: ["target"] });

/** JavaScript has no types: whatever is passed, the answer is normalised options or a `UblkError`. */
function expectOptionsOrError(given: unknown, chosen: unknown): void {
  try {
    const { queueCount, queueDepth, maxIoBytes } = validateOptions(given as DeviceParams, chosen as DeviceOptions);
    for (const number of [queueCount, queueDepth, maxIoBytes]) expect(Number.isSafeInteger(number)).toBe(true);
  } catch (error) {
    expect(error).toBeInstanceOf(UblkError);
  }
}

describe("options of a device", () => {
  test("of any value at all are normalised or a UblkError", () => {
    checkProperty([params, options], (given, chosen) => expectOptionsOrError(given, chosen));
  });

  test("that are right but for one value are normalised or a UblkError", () => {
    checkProperty([fc.constantFrom(...optionNames), fc.anything()], (name, value) => {
      expectOptionsOrError({ target: { kind: "null" }, sizeBytes: 1n << 20n }, { [name]: value });
    });
  });
});
