import { rm } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { EngineClient } from "../../../src/daemon/engine-client.js";
import type { BlockDevice } from "../../../src/engine/block-devices.js";
import { waitForIo } from "./support/completed-io.js";
import { EngineDaemon, type EngineSettings } from "./support/engine-daemon.js";
import { createEngineVolume, startVerifiedLoad } from "./support/engine-volume.js";
import { ImageDirectory } from "./support/image-directory.js";
import { type MachineState, readMachineState, waitUntilNothingIsLeft } from "./support/machine-state.js";
import { byScale, onlyInFull } from "./support/scale.js";
import { waitFor } from "./support/wait-for.js";

const directory = "/run/ublk-hand-over-test";
const handOverCount = byScale({ full: 3, smoke: 1 });

let machineBefore: MachineState;
let images: ImageDirectory;
let old: EngineDaemon;
let client: EngineClient;
let devices: BlockDevice[];

beforeEach(async () => {
  machineBefore = await readMachineState();
  images = await ImageDirectory.create();
});

afterEach(async () => {
  for (const { volumeId } of await client.list()) await client.detach(volumeId);
  await client.close();
  await old.terminate();
  await old.keepLog("engine-hand-over");
  await images.destroy();
  await rm(directory, { recursive: true });
  await waitUntilNothingIsLeft(machineBefore);
});

/** An engine with three devices. */
async function startOld(settings: Partial<EngineSettings> = {}): Promise<void> {
  old = await EngineDaemon.start({ directory, ...settings });
  client = old.connect();
  devices = [];
  for (const name of ["one", "two", "three"]) devices.push(await client.attach(await createEngineVolume(images, name)));
}

/** Starts the next engine, which asks the old one for its devices. */
function launchSuccessor(change: Partial<EngineSettings> = {}): EngineDaemon {
  return EngineDaemon.launch({ directory, flags: ["--take-over"], ...change });
}

async function areAllLive(): Promise<boolean> {
  const found = await client.list();
  return found.length === devices.length && found.every(({ state }) => state === "live");
}

/** Does something while the first device is written, read back and compared. */
async function underLoad(action: () => Promise<void>): Promise<void> {
  const [device] = devices as [BlockDevice];
  const load = startVerifiedLoad(device.path);
  load.catch(() => undefined);
  await waitForIo(device.deviceId, 200);
  await action();
  await load;
}

describe("a planned hand-over", () => {
  test(`happens ${handOverCount} times in a row under a verified load without an error, and the old engine ends with 0`, async () => {
    await startOld();
    await underLoad(async () => {
      for (let round = 0; round < handOverCount; round++) {
        const successor = launchSuccessor();
        expect(await old.waitForExit()).toBe(0);
        old = successor;
        expect(await client.list()).toEqual(expect.arrayContaining(devices));
        expect(await client.adopt()).toMatchObject({ entries: devices.map(() => ({ action: "kept" })) });
      }
    });
  });

  onlyInFull(() => {
    test("is undone when the new engine dies in the middle: the old one serves on", async () => {
      await startOld();
      await underLoad(async () => {
        const successor = launchSuccessor({ environment: { UBLK_CSI_DIE_AT: "after:END_USER_RECOVERY" } });
        await successor.waitForExit();
        await waitFor("the old engine has its devices back", areAllLive);
        expect(old.hasExited).toBe(false);
      });
    });

    test("is finished when the old engine dies in the middle: the new one adopts the rest", async () => {
      await startOld({ environment: { UBLK_CSI_DIE_AT: "after:QUIESCE_DEV" } });
      await underLoad(async () => {
        const successor = launchSuccessor();
        expect(await old.waitForExit()).not.toBe(0);
        old = successor;
        expect((await client.list()).map(({ state }) => state)).toEqual(["live", "live", "live"]);
      });
    });

    test("is not begun by an engine that does not know the devices", async () => {
      await startOld();
      const stranger = launchSuccessor({ flags: ["--take-over", "--state-dir", `${directory}/other`] });
      expect(await stranger.waitForExit()).toBe(1);
      expect(await stranger.readLogTail()).toContain("this journal does not know it: is --state-dir the same?");
      expect(await client.adopt()).toMatchObject({ entries: devices.map(() => ({ action: "kept" })) });
    });

    test("with nobody there is an ordinary start", async () => {
      await startOld();
      await old.kill();
      old = await old.restart({ flags: ["--take-over"] });
      expect((await client.list()).map(({ state }) => state)).toEqual(["live", "live", "live"]);
    });
  });
});
