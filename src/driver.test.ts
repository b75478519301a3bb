import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { BlockDeviceError } from "./engine/block-devices.js";
import { DriverRig, mountCapability } from "./testing/driver-rig.js";
import { rpcs } from "./testing/rpc-client.js";

let rig: DriverRig;

beforeEach(async () => {
  rig = await DriverRig.start();
});

afterEach(() => rig.remove());

describe("identity", () => {
  test("names the driver, its services, and is ready", async () => {
    expect((await rig.client.call(rpcs.getPluginInfo, {})).response).toMatchObject({
      name: "csi.ublk.io",
      vendorVersion: "1.2.3",
    });
    const { response } = await rig.client.call(rpcs.getPluginCapabilities, {});
    expect(response?.capabilities.map(({ type }) => [type?.$case, type?.value.type])).toEqual([
      ["service", 1],
      ["service", 2],
      ["service", 3],
      ["service", 4],
      ["service", 5],
      ["volumeExpansion", 1],
    ]);
    expect((await rig.client.call(rpcs.probe, {})).response).toEqual({ ready: true });
  });

  test("Probe says what is wrong", async () => {
    rig.workspace.pools.checkHealth = async () => {
      throw new BlockDeviceError("unavailable", "the engine is gone");
    };
    expect(await rig.client.call(rpcs.probe, {})).toMatchObject({ code: "UNAVAILABLE", message: "the engine is gone" });
  });
});

test("a method that is not advertised answers UNIMPLEMENTED and says which", async () => {
  const outcome = await rig.client.call(rpcs.controllerPublishVolume, { volumeId: "x", nodeId: "node-a" });
  expect(outcome.code).toBe("UNIMPLEMENTED");
  expect(outcome.message).toBe(
    "this driver does not offer Controller/ControllerPublishVolume, and its capabilities say so",
  );
});

describe("volume ids from outside", () => {
  const staging = () => rig.workspace.path("targets", "staging");
  const byRpc = (volumeId: string) => ({
    deleteVolume: rig.client.call(rpcs.deleteVolume, { volumeId }),
    validate: rig.client.call(rpcs.validateVolumeCapabilities, { volumeId, volumeCapabilities: [mountCapability] }),
    stage: rig.client.call(rpcs.nodeStageVolume, {
      volumeId,
      stagingTargetPath: staging(),
      volumeCapability: mountCapability,
    }),
    unstage: rig.client.call(rpcs.nodeUnstageVolume, { volumeId, stagingTargetPath: staging() }),
    unpublish: rig.client.call(rpcs.nodeUnpublishVolume, {
      volumeId,
      targetPath: rig.workspace.path("targets", "none"),
    }),
    stats: rig.client.call(rpcs.nodeGetVolumeStats, { volumeId, volumePath: "/target" }),
  });

  async function codesFor(volumeId: string): Promise<Record<string, string>> {
    const outcomes = Object.entries(byRpc(volumeId)).map(async ([name, call]) => [name, (await call).code] as const);
    return Object.fromEntries(await Promise.all(outcomes));
  }

  const invalid = "INVALID_ARGUMENT";
  const allInvalid = {
    deleteVolume: invalid,
    validate: invalid,
    stage: invalid,
    unstage: invalid,
    unpublish: invalid,
    stats: invalid,
  };

  test.each([
    ["empty", ""],
    ["a way up", ".."],
    ["a path", "../../etc/passwd"],
    ["of 129 bytes", "x".repeat(129)],
    ["with a control character", "a\u0007"],
  ])("that are %s are invalid everywhere", async (_case, volumeId) => {
    expect(await codesFor(volumeId)).toEqual(allInvalid);
  });

  test.each([
    ["of 128 bytes", "x".repeat(128)],
    ["in capitals", "SANITY-0815"],
    ["that look like ours", "00000000-0000-0000-0000-000000000000"],
  ])("%s are unknown: to remove them is a success", async (_case, volumeId) => {
    const missing = "NOT_FOUND";
    expect(await codesFor(volumeId)).toEqual({
      deleteVolume: "OK",
      validate: missing,
      stage: missing,
      unstage: "OK",
      unpublish: "OK",
      stats: missing,
    });
  });
});
