import { join } from "node:path";
import { describe, expect, test } from "@jest/globals";
import { createAndServe, getFeatures, recoverAndServe, removeDevice } from "../../../src/ublk/index.js";
import { failure, findInfo, mebibyte, sizeBytes, useLibraryRig } from "./support/library-rig.js";
import { runCommand } from "./support/run-command.js";

const rig = useLibraryRig();

describe("errors", () => {
  test("a missing image", async () => {
    const error = await failure(createAndServe({ target: { kind: "file", path: join(rig.scratch, "none") } }));
    expect(error).toMatchObject({ code: "image_missing", errnoName: "ENOENT" });
  });

  test("a size that is no multiple of the block", async () => {
    const path = await rig.images.createImage(mebibyte + 512);
    const params = { target: { kind: "file", path } as const };
    const error = await failure(createAndServe(params, { logicalBlockSizeBytes: 4096 }));
    expect(error.code).toBe("size_misaligned");
  });

  test("a second device of the same id", async () => {
    const { device } = await rig.serveFile();
    const error = await failure(createAndServe({ target: { kind: "null" }, sizeBytes }, { deviceId: device.deviceId }));
    expect(error).toMatchObject({ code: "device_exists", step: "ADD_DEV", errnoName: "EEXIST" });
    expect(await findInfo(device.deviceId)).toMatchObject({ state: "live" });
    await device.stop();
  });

  test("a device that is not there", async () => {
    expect((await failure(removeDevice(777))).code).toBe("device_missing");
    expect((await failure(recoverAndServe(777, { kind: "null" }))).code).toBe("device_missing");
  });

  test("removal of a device that is served", async () => {
    const { device } = await rig.serveFile();
    expect((await failure(removeDevice(device.deviceId, { force: true }))).code).toBe("device_busy");
    expect((await failure(recoverAndServe(device.deviceId, { kind: "null" }, { waitMs: 50 }))).code).toBe(
      "not_recoverable",
    );
    expect(await findInfo(device.deviceId)).toMatchObject({ state: "live" });
    await device.stop();
  });

  test("without root", async () => {
    const script =
      'import("./dist/ublk/index.js").then(({ getFeatures }) => getFeatures()).catch((error) => console.log(error.code))';
    const args = ["--reuid", "nobody", "--regid", "nogroup", "--clear-groups", process.execPath, "-e", script];
    expect((await runCommand("setpriv", args)).trim()).toBe("permission_denied");
  });

  test("io_uring disabled", async () => {
    const script =
      'import("./dist/ublk/index.js").then(({ getFeatures }) => getFeatures()).catch((error) => console.log(error.code))';
    await runCommand("sysctl", ["-qw", "kernel.io_uring_disabled=2"]);
    try {
      expect((await runCommand(process.execPath, ["-e", script])).trim()).toBe("io_uring_disabled");
    } finally {
      await runCommand("sysctl", ["-qw", "kernel.io_uring_disabled=0"]);
    }
  });
});

describe("features", () => {
  test("getFeatures names what every supported kernel has", async () => {
    const names = (await getFeatures()).map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(["USER_RECOVERY", "USER_RECOVERY_REISSUE", "CMD_IOCTL_ENCODE"]));
  });

  test("a device gets what it asks for, and says so", async () => {
    const { device } = await rig.serveFile({ recoverable: true, ownerTag: 2n ** 64n - 2n });
    expect(device.lostFeatures).toEqual([]);
    expect(device.features).toEqual(expect.arrayContaining(["USER_RECOVERY", "USER_RECOVERY_REISSUE"]));
    expect(await findInfo(device.deviceId)).toMatchObject({ ownerTag: 2n ** 64n - 2n, recoverable: true });
    await device.stop();
  });
});
