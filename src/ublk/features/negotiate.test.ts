import { describe, expect, test } from "@jest/globals";
import { featureRules } from "./feature-rules.js";
import { type FeatureName, knownFeatures, toFeatureNames, toMask } from "./features.js";
import {
  type FeatureFacts,
  type FeatureWishes,
  type Negotiation,
  negotiate,
  reportSettled,
  settle,
} from "./negotiate.js";

const everything = toMask(...knownFeatures.map(({ name }) => name));
const kernel73: FeatureFacts = {
  offered: everything,
  kernelRelease: "7.3.4",
  privileged: true,
  broken: new Map(),
  targetCannot: new Map(),
};
const kernel612 = { ...kernel73, offered: 0x1fen, kernelRelease: "6.12.117" };

function ask(wishes: Partial<FeatureWishes>, facts: Partial<FeatureFacts> = {}): Negotiation {
  return negotiate({ required: [], preferred: [], avoided: [], ...wishes }, { ...kernel73, ...facts });
}

function find({ reports }: Negotiation, name: FeatureName) {
  return reports.find((report) => report.name === name);
}

test("requests what is required and preferred, and reports every known feature", () => {
  const result = ask({ required: ["USER_RECOVERY"], preferred: ["QUIESCE"] });
  expect(toFeatureNames(result.request)).toEqual(["USER_RECOVERY", "QUIESCE"]);
  expect(result.reports.map(({ name }) => name)).toEqual(knownFeatures.map(({ name }) => name));
  expect(find(result, "USER_RECOVERY")).toEqual({
    name: "USER_RECOVERY",
    firstKernel: "6.1",
    wish: "required",
    granted: true,
  });
  expect(find(result, "NO_AUTO_PART_SCAN")).toMatchObject({ wish: "none", granted: false });
  expect(result.unmet).toEqual([]);
});

test("a preference that cannot be had is left out, and says why", () => {
  const result = ask({ preferred: ["UPDATE_SIZE", "USER_RECOVERY"] }, kernel612);
  expect(toFeatureNames(result.request)).toEqual(["USER_RECOVERY"]);
  expect(find(result, "UPDATE_SIZE")).toEqual({
    name: "UPDATE_SIZE",
    firstKernel: "6.16",
    wish: "preferred",
    granted: false,
    refusal: { cause: "kernel-too-old", explanation: "the driver of kernel 6.12.117 does not know it" },
  });
});

const refused: [string, FeatureName, Partial<FeatureFacts>, string][] = [
  ["an old kernel", "QUIESCE", kernel612, "kernel-too-old"],
  ["a broken kernel", "UPDATE_SIZE", { broken: new Map([["UPDATE_SIZE", "it panics"]]) }, "known-broken"],
  ["a process without privilege", "USER_COPY", { privileged: false }, "needs-privilege"],
  ["a process with privilege", "UNPRIVILEGED_DEV", {}, "excluded"],
  ["a target", "USER_RECOVERY", { targetCannot: new Map([["USER_RECOVERY", "it forgets"]]) }, "target-cannot"],
  ["this engine", "SHMEM_ZC", {}, "engine-cannot"],
  ["a missing need", "QUIESCE", {}, "excluded"],
];

test.each(refused)("%s refuses %s, required or not", (_who, name, facts, cause) => {
  const required = ask({ required: [name] }, facts);
  expect(required.unmet).toMatchObject([{ name, wish: "required", granted: false, refusal: { cause } }]);
  expect(required.request & toMask(name)).toBe(0n);
  const preferred = ask({ preferred: [name] }, facts);
  expect(preferred.unmet).toEqual([]);
  expect(find(preferred, name)).toMatchObject({ granted: false, refusal: { cause } });
});

describe("features that depend on each other", () => {
  test("a need may be named after what needs it", () => {
    const result = ask({ required: ["USER_RECOVERY_REISSUE", "USER_RECOVERY"] });
    expect(toFeatureNames(result.request)).toEqual(["USER_RECOVERY", "USER_RECOVERY_REISSUE"]);
  });

  test("a need that is refused takes along what needs it", () => {
    const result = ask({ preferred: ["USER_RECOVERY", "QUIESCE"] }, { privileged: false });
    expect(result.request).toBe(0n);
  });

  test("a requirement wins over a preference that it excludes", () => {
    const names = ["USER_RECOVERY", "USER_RECOVERY_REISSUE"] as const;
    const result = ask({ required: names, preferred: ["USER_RECOVERY_FAIL_IO"] });
    expect(toFeatureNames(result.request)).toEqual(names);
    expect(find(result, "USER_RECOVERY_FAIL_IO")?.refusal).toEqual({
      cause: "excluded",
      explanation: "USER_RECOVERY_REISSUE excludes it",
    });
  });

  test("of two requirements that exclude each other the second is named", () => {
    const names = ["USER_RECOVERY", "USER_RECOVERY_REISSUE", "USER_RECOVERY_FAIL_IO"] as const;
    expect(ask({ required: names }).unmet).toMatchObject([{ name: "USER_RECOVERY_FAIL_IO" }]);
  });

  test("the first of two preferences wins, whichever way the driver words it", () => {
    const first = ask({ preferred: ["NEED_GET_DATA", "USER_COPY"] });
    expect(toFeatureNames(first.request)).toEqual(["NEED_GET_DATA"]);
    const second = ask({ preferred: ["USER_COPY", "NEED_GET_DATA"] });
    expect(toFeatureNames(second.request)).toEqual(["USER_COPY"]);
  });

  test("a feature that the driver forces gives way silently", () => {
    const result = ask({ preferred: ["BATCH_IO"] });
    expect(toFeatureNames(result.request)).toEqual(["BATCH_IO"]);
    expect(find(result, "PER_IO_DAEMON")).toMatchObject({ wish: "none", granted: false });
    expect(find(ask({}), "PER_IO_DAEMON")).toMatchObject({ wish: "none", granted: true });
  });
});

test("what is avoided is not asked for", () => {
  const result = ask({ preferred: ["UPDATE_SIZE"], avoided: ["UPDATE_SIZE"] });
  expect(result.request).toBe(0n);
  expect(find(result, "UPDATE_SIZE")).toMatchObject({ wish: "avoided", granted: false });
});

test("what the driver dropped is named as such, and what it forced as granted", () => {
  const { reports, request } = ask({ preferred: ["UPDATE_SIZE", "NO_AUTO_PART_SCAN"] });
  const settled = settle(reports, request, toMask("UPDATE_SIZE", "SAFE_STOP_DEV"));
  const granted = settled.filter((report) => report.granted).map(({ name }) => name);
  expect(granted).toEqual(["UPDATE_SIZE", "SAFE_STOP_DEV"]);
  expect(settled.find(({ name }) => name === "NO_AUTO_PART_SCAN")).toMatchObject({
    wish: "preferred",
    refusal: { cause: "not-granted" },
  });
});

test("a device made earlier reports what it was granted", () => {
  const granted = reportSettled(0x58n).filter((report) => report.granted);
  expect(granted.map(({ name }) => name)).toEqual(["USER_RECOVERY", "USER_RECOVERY_REISSUE", "CMD_IOCTL_ENCODE"]);
});

test("there is a rule for every feature", () => {
  expect(Object.keys(featureRules)).toEqual(knownFeatures.map(({ name }) => name));
});
