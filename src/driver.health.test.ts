import { rename, rm } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { DriverRig } from "./testing/driver-rig.js";
import { rpcs } from "./testing/rpc-client.js";

let rig: DriverRig;

beforeEach(async () => {
  rig = await DriverRig.start();
});

afterEach(() => rig.remove());

describe("volume health", () => {
  test("of a volume that is well is there, with an empty list", async () => {
    const { volumeId } = await rig.createVolume();
    const healthy = { volumeHealth: { volumeId, healthStatuses: [] } };
    expect((await rig.client.call(rpcs.controllerGetVolumeHealth, { volumeId })).response).toEqual(healthy);
    expect((await rig.client.call(rpcs.nodeGetVolumeHealth, { volumeId })).response).toEqual(healthy);
    expect((await rig.client.call(rpcs.controllerListVolumeHealth, {})).response).toEqual({
      entries: [],
      nextToken: "",
    });
    expect((await rig.client.call(rpcs.nodeGetStorageHealth, {})).response).toEqual({ backendHealth: [] });
  });

  test("of volumes whose bytes are gone is told by all, a page at a time", async () => {
    const ids = [await rig.createVolume("a"), await rig.createVolume("b")].map(({ volumeId }) => volumeId).sort();
    for (const id of ids) await rm(rig.workspace.path("disk/volumes", id, "image"));
    const toHealth = (volumeId: string | undefined) => ({
      volumeId,
      healthStatuses: [{ status: 3, reason: "ImageLost", message: expect.stringContaining("image is missing") }],
    });
    const [volumeId = ""] = ids;
    const lost = { volumeHealth: toHealth(volumeId) };
    expect((await rig.client.call(rpcs.controllerGetVolumeHealth, { volumeId })).response).toEqual(lost);
    expect((await rig.client.call(rpcs.nodeGetVolumeHealth, { volumeId })).response).toEqual(lost);
    const first = (await rig.client.call(rpcs.controllerListVolumeHealth, { maxEntries: 1 })).response;
    expect(first?.entries).toEqual([toHealth(ids[0])]);
    const request = { startingToken: first?.nextToken ?? "" };
    const second = (await rig.client.call(rpcs.controllerListVolumeHealth, request)).response;
    expect(second).toEqual({ entries: [toHealth(ids[1])], nextToken: "" });
  });

  test("of a pool that is gone is told by the node", async () => {
    await rename(rig.workspace.path("disk"), rig.workspace.path("elsewhere"));
    const { response } = await rig.client.call(rpcs.nodeGetStorageHealth, {});
    expect(response?.backendHealth).toMatchObject([{ status: 2, reason: "PoolUnavailable" }]);
  });

  test("needs the id of a volume that exists", async () => {
    for (const method of [rpcs.controllerGetVolumeHealth, rpcs.nodeGetVolumeHealth]) {
      const ask = (volumeId: string) => rig.client.call(method as typeof rpcs.controllerGetVolumeHealth, { volumeId });
      expect(await ask("")).toMatchObject({ code: "INVALID_ARGUMENT" });
      expect(await ask("no-such-volume")).toMatchObject({ code: "NOT_FOUND" });
    }
  });

  test("lists no page after a token that was not given", async () => {
    const request = { startingToken: "made-up" };
    expect(await rig.client.call(rpcs.controllerListVolumeHealth, request)).toMatchObject({ code: "ABORTED" });
    const negative = { maxEntries: -1 };
    expect(await rig.client.call(rpcs.controllerListVolumeHealth, negative)).toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });
});
