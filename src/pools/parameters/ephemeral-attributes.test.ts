import { describe, expect, test } from "@jest/globals";
import { isEphemeral, pickAttributes, readPodIdentity, readWish } from "./ephemeral-attributes.js";
import type { EphemeralRules } from "./ephemeral-rules.js";

const gibibyte = 1024n ** 3n;
const rules: EphemeralRules = {
  sizeBytesDefault: gibibyte,
  sizeBytesMax: 2n * gibibyte,
  poolNames: ["fast", "scratch"],
  volumeCountMax: 3,
};

const wish = (attributes: Record<string, string>) => readWish(pickAttributes(attributes), rules, "first");

describe("the attributes of an inline volume", () => {
  test("left out they are the administrator's defaults", () => {
    expect(wish({})).toEqual({ sizeBytes: gibibyte, pool: "fast", provisioning: "thick", limits: undefined });
  });

  test("are taken within the administrator's bounds", () => {
    const attributes = { size: "2Gi", pool: "scratch", provisioning: "thin" };
    expect(wish(attributes)).toMatchObject({ sizeBytes: 2n * gibibyte, pool: "scratch", provisioning: "thin" });
  });

  test("have the administrator's ceilings, or lower ones of the author's choice", () => {
    const limitsMax = { iops: 1000, bytesPerSecond: 2 ** 20 * 100 };
    const limitsOf = (attributes: Record<string, string>) =>
      readWish(pickAttributes(attributes), { ...rules, limitsMax }, "first").limits;
    expect(limitsOf({})).toEqual(limitsMax);
    expect(limitsOf({ iops: "500", readIops: "5000", burst: "1s" })).toEqual({
      ...limitsMax,
      iops: 500,
      readIops: 5000,
      burstMs: 1000,
    });
    for (const iops of ["1001", "unlimited"]) {
      expect(() => limitsOf({ iops })).toThrow(`iops is "${iops}", an inline volume may have 1000 here`);
    }
    expect(() => limitsOf({ iops: "none" })).toThrow(
      'volume attribute iops is "none", allowed is a number of operations',
    );
    expect(wish({ bandwidth: "1Mi", writeIops: "unlimited" }).limits).toEqual({
      bytesPerSecond: 2 ** 20,
      writeIops: "unlimited",
    });
  });

  test("without a list of pools only the node's first pool is there to be had", () => {
    const open = { ...rules, poolNames: undefined };
    expect(readWish({}, open, "first").pool).toBe("first");
    expect(() => readWish({ pool: "fast" }, open, "first")).toThrow('pool is "fast", allowed is one of: first');
  });

  test("with an empty list of pools there are none", () => {
    expect(() => readWish({}, { ...rules, poolNames: [] }, "first")).toThrow("no pool takes inline volumes here");
  });

  test.each([
    [{ size: "3Gi" }, 'size is "3Gi", an inline volume may have at most 2147483648 bytes here'],
    [{ size: "0" }, 'size is "0", allowed is a whole number of bytes'],
    [{ size: "-1" }, 'size is "-1"'],
    [{ size: "1e9" }, 'size is "1e9"'],
    [{ size: "9".repeat(40) }, "size is"],
    [{ pool: "reserved" }, 'pool is "reserved", allowed is one of: fast, scratch'],
    [{ pool: "../fast" }, 'pool is "../fast"'],
    [{ provisioning: "none" }, 'provisioning is "none"'],
    [{ mkfsOptions: "-O x" }, '"mkfsOptions" is unknown, known are size, pool, provisioning, iops'],
    [{ path: "/etc" }, '"path" is unknown'],
    [JSON.parse('{"__proto__": "x"}') as Record<string, string>, '"__proto__" is unknown'],
  ])("%j is refused", (attributes: Record<string, string>, reason: string) => {
    expect(() => wish(attributes)).toThrow(reason);
  });
});

describe("what kubelet says", () => {
  const context = {
    "csi.storage.k8s.io/ephemeral": "true",
    "csi.storage.k8s.io/pod.uid": "uid-1",
    "csi.storage.k8s.io/pod.name": "web",
    "csi.storage.k8s.io/pod.namespace": "shop",
    "csi.storage.k8s.io/serviceAccount.name": "default",
    size: "1Gi",
  };

  test("is told apart from what the author says", () => {
    expect(isEphemeral(context)).toBe(true);
    expect(isEphemeral({ ...context, "csi.storage.k8s.io/ephemeral": "false" })).toBe(false);
    expect(pickAttributes(context)).toEqual({ size: "1Gi" });
    expect(readPodIdentity(context)).toEqual({ podUid: "uid-1", podName: "web", podNamespace: "shop" });
  });

  test("must name the pod", () => {
    expect(() => readPodIdentity({ "csi.storage.k8s.io/ephemeral": "true" })).toThrow("podInfoOnMount");
  });
});
