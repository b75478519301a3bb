import { describe, expect, test } from "@jest/globals";
import { defaultQueueCount } from "./default-geometry.js";
import { unlimited } from "./limits.js";
import { type DeviceOptions, type DeviceParams, validateOptions } from "./options.js";

const nullParams: DeviceParams = { target: { kind: "null" }, sizeBytes: 1 << 20 };

test("fills in every default", () => {
  expect(validateOptions(nullParams)).toEqual({
    target: { kind: "null" },
    sizeBytes: 1n << 20n,
    deviceId: undefined,
    queueCount: defaultQueueCount("null"),
    queueDepth: 64,
    maxIoBytes: 131072,
    logicalBlockSizeBytes: 512,
    readOnly: false,
    discard: true,
    recoverable: false,
    ownerTag: 0n,
    direct: true,
    unprivileged: false,
    features: { required: [], preferred: [], avoided: [] },
    dataMode: "auto",
    batch: "auto",
    cpus: [],
    allowBrokenKernel: false,
    limits: unlimited,
  });
});

const wrongOptions: [string, unknown, string][] = [
  ["queueCount", 0, "queueCount is 0; expected a whole number from 1 to 4096"],
  ["queueDepth", 4097, "queueDepth is 4097; expected a whole number from 1 to 4096"],
  ["queueDepth", 1.5, "queueDepth is 1.5; expected a whole number from 1 to 4096"],
  ["deviceId", -1, "deviceId is -1; expected a whole number from 0 to 1048575"],
  ["maxIoBytes", 5000, "maxIoBytes is 5000; expected a multiple of 4096"],
  ["logicalBlockSizeBytes", 1024, "logicalBlockSizeBytes is 1024; expected 512 or 4096"],
  ["batch", true, "batch is true; expected one of auto, on, off"],
  ["cpus", 3, "cpus is 3; expected an array of CPU numbers"],
  ["cpus", [0, -1], "cpus: the CPU is -1; expected a whole number from 0 to 8191"],
  ["readOnly", "yes", 'readOnly is "yes"; expected true or false'],
  ["ownerTag", 3, "ownerTag is 3; expected a bigint from 0n to 2n ** 64n - 1n"],
  ["ownerTag", 2n ** 64n, "ownerTag is 18446744073709551616; expected a bigint from 0n to 2n ** 64n - 1n"],
];

test.each(wrongOptions)("refuses %s %p", (name, value, message) => {
  expect(() => validateOptions(nullParams, { [name]: value })).toThrow(message);
});

test("refuses an unknown option and lists the known ones", () => {
  const options = { queues: 4 } as DeviceOptions;
  expect(() => validateOptions(nullParams, options)).toThrow('the unknown name is "queues"; expected one of deviceId,');
});

const wrongParams: [string, unknown, string][] = [
  ["no target", { sizeBytes: 1 }, 'target.kind is undefined; expected "null", "memory", "file", "fault" or "js"'],
  ["another kind", { target: { kind: "disk" } }, 'target.kind is "disk"; expected'],
  ["a relative path", { target: { kind: "file", path: "a" } }, 'target.path is "a"; expected an absolute path'],
  ["no path", { target: { kind: "file" } }, "target.path is undefined; expected an absolute path"],
  ["a path for null", { target: { kind: "null", path: "/a" }, sizeBytes: 512 }, "target.path of a null target"],
  [
    "no size",
    { target: { kind: "memory" } },
    "sizeBytes is undefined; expected the size of the memory device in bytes",
  ],
  ["size 0", { ...nullParams, sizeBytes: 0 }, "sizeBytes is 0; expected 1 to 9223372036854775807 bytes"],
  ["a negative size", { ...nullParams, sizeBytes: -512n }, "sizeBytes is -512; expected 1 to"],
  ["a huge size", { ...nullParams, sizeBytes: 2n ** 63n }, "sizeBytes is 9223372036854775808; expected 1 to"],
  ["half a byte", { ...nullParams, sizeBytes: 0.5 }, "sizeBytes is 0.5; expected a whole number or a bigint"],
  [
    "a part of a block",
    { ...nullParams, sizeBytes: 513 },
    "expected a multiple of the logical block of 512 bytes: use 1024",
  ],
];

describe("params", () => {
  test.each(wrongParams)("refuses %s", (_what, params, message) => {
    expect(() => validateOptions(params as DeviceParams)).toThrow(message);
  });

  test("measures the size by the block asked for", () => {
    const fourKib = { logicalBlockSizeBytes: 4096 };
    expect(() => validateOptions({ ...nullParams, sizeBytes: 4096 * 3 + 512 }, fourKib)).toThrow("use 16384");
    expect(validateOptions({ ...nullParams, sizeBytes: 4096 * 3 }, fourKib).sizeBytes).toBe(12288n);
  });

  test("refuses a recoverable device whose bytes go with the process", () => {
    const params: DeviceParams = { target: { kind: "memory" }, sizeBytes: 4096 };
    expect(() => validateOptions(params, { recoverable: true })).toThrow("give target.path, a file on a tmpfs");
    const path = "/dev/shm/a";
    const kept = validateOptions({ ...params, target: { kind: "memory", path } }, { recoverable: true });
    expect(kept.recoverable).toBe(true);
  });
});
