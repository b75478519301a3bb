import { describe, expect, test } from "@jest/globals";
import { UblkError } from "../errors.js";
import { FakeAddon } from "../testing/fake-addon.js";
import { FakeKernel } from "../testing/fake-kernel.js";
import { type FakeMachine, reader } from "../testing/fake-machine.js";
import { Ublk, type UblkSettings } from "../ublk.js";
import { toMask } from "./features.js";
import type { FeatureReport } from "./negotiate.js";

const params = { target: { kind: "null" }, sizeBytes: 1 << 20 } as const;
const ordinaryUser = { userId: 1000 };

function start(machine: FakeMachine = {}, settings: UblkSettings = {}): { kernel: FakeKernel; ublk: Ublk } {
  const kernel = new FakeKernel();
  const addon = new FakeAddon(kernel, 100);
  return { kernel, ublk: new Ublk(addon, reader(machine), async () => kernel.deviceIds(), settings) };
}

async function failure(promise: Promise<unknown>): Promise<UblkError> {
  const error = await promise.catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(UblkError);
  return error as UblkError;
}

const find = (reports: readonly FeatureReport[], name: string) => reports.find((report) => report.name === name);

describe("below the floor", () => {
  test("one error names everything that is missing, and nothing is made", async () => {
    const { kernel, ublk } = start({ kernelRelease: "6.4.0" });
    kernel.features = 0x7en;
    const error = await failure(ublk.createAndServe(params));
    expect(error).toMatchObject({ code: "feature_missing", step: "GET_FEATURES" });
    expect(error.message).toBe(
      "the ublk driver of kernel 6.4.0 lacks USER_COPY (first in kernel 6.5), ZONED (first in kernel 6.6): " +
        "use kernel 6.8 or later",
    );
    expect((await failure(ublk.checkKernel())).code).toBe("feature_missing");
    expect(kernel.devices.size).toBe(0);
  });
});

describe("a kernel that is known to break", () => {
  const broken = { kernelRelease: "6.17.0-24-generic", kernelVersion: "#24-Ubuntu SMP" };

  test("is refused before the device is added", async () => {
    const { kernel, ublk } = start(broken);
    const error = await failure(ublk.createAndServe(params));
    expect(error.code).toBe("kernel_broken");
    expect(error.message).toContain("kernel 6.17.0-24-generic follows a null pointer");
    expect(error.message).toContain("allowBrokenKernel");
    expect(kernel.steps).toEqual(["GET_FEATURES -1"]);
    expect((await failure(ublk.checkKernel())).code).toBe("kernel_broken");
  });

  test("may be used by whoever insists", async () => {
    const device = await start(broken).ublk.createAndServe(params, { allowBrokenKernel: true });
    expect(device.state).toBe("open");
    const { ublk } = start(broken, { allowBrokenKernel: true });
    expect((await ublk.createAndServe(params)).state).toBe("open");
    expect((await ublk.checkKernel()).findings[0]).toMatchObject({ id: "add-dev-null-pointer", severity: "refuse" });
  });

  test("still gives back the devices it has", async () => {
    const { kernel, ublk } = start(broken);
    kernel.addForeign({ features: 0x58n, state: 2 });
    expect((await ublk.recoverAndServe(0, { kind: "null" })).state).toBe("open");
  });

  test("a warning does not keep from serving", async () => {
    const { ublk } = start({ kernelRelease: "7.0.14" });
    expect((await ublk.createAndServe(params)).state).toBe("open");
    expect((await ublk.checkKernel()).findings[0]).toMatchObject({ severity: "warn", id: "lost-control-command" });
  });
});

describe("the report of a device", () => {
  test("says of each feature whether it was asked for, granted, and why not", async () => {
    const { kernel, ublk } = start({ kernelRelease: "6.12.117" });
    kernel.features = 0x1fen;
    const { featureReport } = await ublk.createAndServe(params);
    expect(find(featureReport, "CMD_IOCTL_ENCODE")).toMatchObject({ wish: "required", granted: true });
    expect(find(featureReport, "UPDATE_SIZE")).toMatchObject({
      wish: "preferred",
      granted: false,
      refusal: { cause: "kernel-too-old" },
    });
    expect(find(featureReport, "USER_RECOVERY")).toMatchObject({ wish: "none", granted: false });
  });

  test("is to be had without a device", async () => {
    const { kernel, ublk } = start();
    const reports = await ublk.reportFeatures(params, { recoverable: true, features: { avoid: ["QUIESCE"] } });
    expect(find(reports, "USER_RECOVERY")).toMatchObject({ wish: "required", granted: true });
    expect(find(reports, "QUIESCE")).toMatchObject({ wish: "avoided", granted: false });
    expect(kernel.devices.size).toBe(0);
  });
});

describe("the report of a device that was taken back", () => {
  const recovery = toMask("CMD_IOCTL_ENCODE", "USER_RECOVERY", "USER_RECOVERY_REISSUE");

  async function recover(offered: bigint, failing = false) {
    const { kernel, ublk } = start({ kernelRelease: "6.12.117" });
    kernel.features = offered;
    kernel.addForeign({ features: recovery, state: 2 });
    if (failing) kernel.failNext("GET_FEATURES", "EIO");
    return (await ublk.recoverAndServe(0, { kind: "null" })).featureReport;
  }

  test("has the kernel's reasons against what it lacks, and none against what it has", async () => {
    const report = await recover(0x1fen);
    expect(find(report, "UPDATE_SIZE")).toMatchObject({
      wish: "preferred",
      granted: false,
      refusal: { cause: "kernel-too-old", explanation: "the driver of kernel 6.12.117 does not know it" },
    });
    const had = find(report, "USER_RECOVERY");
    expect(had).toMatchObject({ wish: "required", granted: true });
    expect(had).not.toHaveProperty("refusal");
  });

  test("says that it was made without what this kernel would give it", async () => {
    expect(find(await recover(0x1f_ffffn), "UPDATE_SIZE")).toMatchObject({
      wish: "preferred",
      granted: false,
      refusal: { cause: "not-granted", explanation: "the device was made without it, and keeps what it was made with" },
    });
  });

  test("has what it was made with, where the kernel does not answer, and keeps no I/O waiting for that", async () => {
    const report = await recover(0x1fen, true);
    expect(find(report, "USER_RECOVERY")).toMatchObject({ wish: "none", granted: true });
    expect(find(report, "UPDATE_SIZE")).toMatchObject({ wish: "none", granted: false });
  });
});

describe("features by name", () => {
  test("a requirement that cannot be met names feature, first kernel and reason", async () => {
    const { kernel, ublk } = start({ kernelRelease: "6.12.117" });
    kernel.features = 0x1fen;
    const error = await failure(ublk.createAndServe(params, { features: { require: ["UPDATE_SIZE"] } }));
    expect(error.code).toBe("feature_missing");
    expect(error.message).toBe(
      "the device cannot have UPDATE_SIZE (first in kernel 6.16): the driver of kernel 6.12.117 does not know it: " +
        "use a newer kernel, or do without",
    );
    expect(kernel.devices.size).toBe(0);
  });

  test("a preference that cannot be met is given up", async () => {
    const { ublk } = start();
    const device = await ublk.createAndServe(params, { features: { prefer: ["QUIESCE"] } });
    expect(find(device.featureReport, "QUIESCE")?.refusal).toEqual({
      cause: "excluded",
      explanation: "it needs USER_RECOVERY, which the device does not have",
    });
  });

  test("what another option requires cannot be avoided", async () => {
    const options = { recoverable: true, features: { avoid: ["USER_RECOVERY"] } } as const;
    const error = await failure(start().ublk.createAndServe(params, options));
    expect(error.message).toContain("features.avoid has USER_RECOVERY, which another option requires");
  });
});

describe("an unprivileged device", () => {
  test("is asked for by a process without CAP_SYS_ADMIN", async () => {
    const { ublk } = start(ordinaryUser);
    const { featureReport } = await ublk.createAndServe(params, { unprivileged: true });
    expect(find(featureReport, "UNPRIVILEGED_DEV")).toMatchObject({ wish: "required", granted: true });
    expect(find(featureReport, "USER_COPY")).toMatchObject({ granted: false, refusal: { cause: "needs-privilege" } });
  });

  test("is refused to root, which the driver would give another one", async () => {
    const error = await failure(start().ublk.createAndServe(params, { unprivileged: true }));
    expect(error.message).toContain("the driver drops it for a process with CAP_SYS_ADMIN");
  });

  test("is judged by the capability, not by the user", async () => {
    const capable = { "/proc/self/status": "Name:\tnode\nCapEff:\t000001ffffffffff\n" };
    const error = await failure(
      start({ ...ordinaryUser, files: capable }).ublk.createAndServe(params, { unprivileged: true }),
    );
    expect(error.code).toBe("feature_missing");
  });

  test("goes again when udev does not give its node to its maker", async () => {
    const { kernel, ublk } = start({ ...ordinaryUser, mayOpen: () => false }, { nodeWaitMs: 20 });
    const error = await failure(ublk.createAndServe(params, { unprivileged: true }));
    expect(error).toMatchObject({ code: "permission_denied", step: "OPEN_BLOCK" });
    expect(error.message).toContain("/dev/ublkb0 was not given to the user of this process");
    expect(error.message).toContain("59-ublk.rules");
    expect(kernel.devices.size).toBe(0);
  });

  test("is all that its user sees in the list", async () => {
    const { kernel, ublk } = start(ordinaryUser);
    kernel.addForeign();
    await ublk.createAndServe(params, { unprivileged: true });
    kernel.failNext("GET_DEV_INFO", "EPERM");
    expect((await ublk.listDevices()).map(({ deviceId }) => deviceId)).toEqual([1]);
  });

  test("cannot be recoverable", async () => {
    const options = { unprivileged: true, recoverable: true };
    const error = await failure(start(ordinaryUser).ublk.createAndServe(params, options));
    expect(error.message).toContain("an unprivileged device cannot be recoverable");
  });
});
