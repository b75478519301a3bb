import { expect, test } from "@jest/globals";
import { findTargetLimits, toWishes, validateFeatureOptions, type WishingOptions } from "./feature-wishes.js";

const plain: WishingOptions = {
  target: { kind: "null" },
  recoverable: false,
  unprivileged: false,
  dataMode: "auto",
  batch: "auto",
  features: { required: [], preferred: [], avoided: [] },
};

test("options stand for requirements", () => {
  expect(toWishes(plain).required).toEqual(["CMD_IOCTL_ENCODE"]);
  expect(toWishes({ ...plain, recoverable: true }).required).toEqual(
    expect.arrayContaining(["USER_RECOVERY", "USER_RECOVERY_REISSUE"]),
  );
  expect(toWishes({ ...plain, unprivileged: true }).required).toContain("UNPRIVILEGED_DEV");
  expect(toWishes(plain, "auto-zero-copy").required).toContain("AUTO_BUF_REG");
});

test("only a recoverable device is to be quiesced", () => {
  expect(toWishes(plain).preferred).not.toContain("QUIESCE");
  expect(toWishes({ ...plain, recoverable: true }).preferred).toContain("QUIESCE");
});

test("named preferences come before the library's own", () => {
  const features = { required: [], preferred: ["USER_RECOVERY"], avoided: [] } as const;
  expect(toWishes({ ...plain, features }).preferred[0]).toBe("USER_RECOVERY");
});

test("bytes that go with the process rule recovery out", () => {
  expect([...findTargetLimits({ target: { kind: "memory" } }).keys()]).toEqual(["USER_RECOVERY"]);
  expect(findTargetLimits({ target: { kind: "memory", path: "/dev/shm/a" } }).size).toBe(0);
});

test("a target that does no I/O on the pages rules zero copy out", () => {
  const limits = findTargetLimits({ target: { kind: "null" } }, "zero-copy");
  expect(limits.get("SUPPORT_ZERO_COPY")).toContain("a null target cannot be served in the data mode zero-copy");
  expect(findTargetLimits({ target: { kind: "file", path: "/image" } }, "auto-zero-copy").size).toBe(0);
});

const wrong: [unknown, string][] = [
  ["UPDATE_SIZE", 'features is "UPDATE_SIZE"; expected an object'],
  [{ want: [] }, 'features has the unknown list "want"; expected require, prefer and avoid'],
  [{ require: "UPDATE_SIZE" }, 'features.require is "UPDATE_SIZE"; expected an array of names'],
  [{ prefer: ["update_size"] }, 'features.prefer has "update_size"; expected one of SUPPORT_ZERO_COPY,'],
  [{ require: ["USER_COPY"] }, "features.require has USER_COPY; choose it with the option dataMode"],
  [{ avoid: ["SAFE_STOP_DEV"] }, "features.avoid has SAFE_STOP_DEV, which the driver sets whether asked or not"],
  [{ require: ["QUIESCE"], avoid: ["QUIESCE"] }, "features names QUIESCE twice"],
];

test.each(wrong)("refuses %j", (features, message) => {
  expect(() => validateFeatureOptions(features, "createAndServe")).toThrow(message);
});

test("takes names in three lists, each of which may be left out", () => {
  const none = { required: [], preferred: [], avoided: [] };
  expect(validateFeatureOptions(undefined, "createAndServe")).toEqual(none);
  expect(validateFeatureOptions({ avoid: ["QUIESCE"] }, "createAndServe")).toEqual({ ...none, avoided: ["QUIESCE"] });
});
