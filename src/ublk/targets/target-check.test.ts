import { describe, expect, test } from "@jest/globals";
import type { DeviceParams } from "../options.js";
import { validateOptions } from "../options.js";
import { findImagePath, isAnonymousMemory, toNativeTarget } from "./target.js";

const backend = { size: 1n << 20n, readAt: () => {}, writeAt: () => {} };
const over = { kind: "memory" } as const;

const wrongTargets: [string, unknown, string][] = [
  ["a backend that is none", { kind: "js" }, "target.backend is undefined; expected an object"],
  ["no readAt", { kind: "js", backend: { ...backend, readAt: 1 } }, "target.backend.readAt is 1; expected a method"],
  [
    "no writeAt",
    { kind: "js", backend: { size: 1n, readAt: () => {} } },
    "target.backend.writeAt is undefined; expected",
  ],
  [
    "a flush that is none",
    { kind: "js", backend: { ...backend, flush: true } },
    "target.backend.flush is true; expected",
  ],
  [
    "a size as a number",
    { kind: "js", backend: { ...backend, size: 4096 } },
    "target.backend.size is 4096; expected a bigint",
  ],
  [
    "no size",
    { kind: "js", backend: { ...backend, size: 0n } },
    "target.backend.size is 0; expected a bigint from 1n to 9007",
  ],
  [
    "a huge size",
    { kind: "js", backend: { ...backend, size: 2n ** 53n } },
    "target.backend.size is 9007199254740992; expected",
  ],
  [
    "faults over nothing",
    { kind: "fault", rules: [] },
    'target.over.kind is undefined; expected "null", "memory" or "file"',
  ],
  ["faults in faults", { kind: "fault", over: { kind: "fault" }, rules: [] }, 'target.over.kind is "fault"; expected'],
  ["faults without rules", { kind: "fault", over }, "target.rules is undefined; expected an array of rules"],
  ["a wrong rule", { kind: "fault", over, rules: [{}] }, "target.rules[0]: the action is undefined"],
  [
    "a wrong seed",
    { kind: "fault", over, rules: [], seed: -1 },
    "target.seed is -1; expected a whole number from 0 to",
  ],
  [
    "a path inside",
    { kind: "fault", over: { kind: "file", path: "a" }, rules: [] },
    'target.over.path is "a"; expected an abs',
  ],
];

describe("a target", () => {
  test.each(wrongTargets)("with %s is refused", (_what, target, message) => {
    expect(() => validateOptions({ target, sizeBytes: 4096 } as DeviceParams)).toThrow(message);
  });

  test("that has a size needs none", () => {
    expect(validateOptions({ target: { kind: "js", backend } }).sizeBytes).toBeUndefined();
    const target = { kind: "fault", over: { kind: "file", path: "/a" }, rules: [] } as const;
    expect(validateOptions({ target }).sizeBytes).toBeUndefined();
    expect(() => validateOptions({ target: { kind: "fault", over, rules: [] } })).toThrow("sizeBytes is undefined");
  });

  test("of anonymous memory is not recoverable, with faults or without", () => {
    const params: DeviceParams = { target: { kind: "fault", over, rules: [] }, sizeBytes: 4096 };
    expect(() => validateOptions(params, { recoverable: true })).toThrow("loses its bytes with its process");
    expect(validateOptions({ target: { kind: "js", backend } }, { recoverable: true }).recoverable).toBe(true);
  });
});

test("findImagePath and isAnonymousMemory look through faults", () => {
  const file = { kind: "file", path: "/a" } as const;
  expect(findImagePath({ kind: "fault", over: file, rules: [] })).toBe("/a");
  expect(findImagePath({ kind: "js", backend })).toBeUndefined();
  expect(isAnonymousMemory({ kind: "fault", over, rules: [] })).toBe(true);
  expect(isAnonymousMemory({ kind: "js", backend })).toBe(false);
});

test("toNativeTarget hands direct to the file, and rules and seed to the faults", () => {
  const file = { kind: "file", path: "/a" } as const;
  expect(toNativeTarget(file, false)).toEqual({ kind: "file", path: "/a", direct: false });
  const faulty = toNativeTarget({ kind: "fault", over: file, rules: [{ hang: true }], seed: 9 }, true);
  expect(faulty).toMatchObject({
    kind: "fault",
    over: { path: "/a", direct: true },
    seed: 9,
    rules: [{ action: "hang" }],
  });
  expect(toNativeTarget({ kind: "js", backend }, true)).toMatchObject({ kind: "js", flush: false });
});
