import { rm } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { EngineClient } from "../../../src/daemon/engine-client.js";
import { waitForIo } from "./support/completed-io.js";
import { EngineDaemon } from "./support/engine-daemon.js";
import { createEngineVolume, startVerifiedLoad } from "./support/engine-volume.js";
import { ImageDirectory } from "./support/image-directory.js";
import { type MachineState, readMachineState, waitUntilNothingIsLeft } from "./support/machine-state.js";

const directory = "/run/ublk-engine-test";

let machineBefore: MachineState;
let images: ImageDirectory;
let daemon: EngineDaemon;
let client: EngineClient;

beforeEach(async () => {
  machineBefore = await readMachineState();
  images = await ImageDirectory.create();
  daemon = await EngineDaemon.start({ directory });
  client = daemon.connect();
});

afterEach(async () => {
  for (const { volumeId } of await client.list()) await client.detach(volumeId);
  await client.close();
  await daemon.terminate();
  await daemon.keepLog("engine-daemon");
  await images.destroy();
  await rm(directory, { recursive: true });
  await waitUntilNothingIsLeft(machineBefore);
});

describe("an engine in a process of its own", () => {
  test("is killed under a verified load, and the next one takes the devices: a pause, and no error", async () => {
    const device = await client.attach(await createEngineVolume(images, "one"));
    const load = startVerifiedLoad(device.path);
    load.catch(() => undefined);
    await waitForIo(device.deviceId, 200);
    await daemon.kill();
    daemon = await daemon.restart();
    expect(await client.find("one")).toEqual(device);
    await load;
  });
});
