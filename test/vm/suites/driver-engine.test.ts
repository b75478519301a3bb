import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { FileJournal } from "../../../src/engine/journal/journal.js";
import { waitForIo } from "./support/completed-io.js";
import { EngineDaemon } from "./support/engine-daemon.js";
import { startVerifiedLoad } from "./support/engine-volume.js";
import { TestBed } from "./support/test-bed.js";

const directory = "/run/ublk-driver-engine";
const mebibyte = 1024 ** 2;

let engine: EngineDaemon;
let bed: TestBed;

beforeAll(async () => {
  engine = await EngineDaemon.start({ directory });
  bed = await TestBed.start("driver-engine", { engineSocketPath: engine.socketPath });
});

afterAll(async () => {
  await bed.dispose();
  await engine.terminate();
  await engine.keepLog("driver-engine");
  await rm(directory, { recursive: true });
});

describe("a driver whose devices an engine of its own serves", () => {
  test("restarts and is killed under a verified load, and no device changes its server", async () => {
    const volume = bed.volume({ name: "served", sizeBytes: 64 * mebibyte, access: { kind: "mount", fsType: "ext4" } });
    await volume.start();
    const deviceId = await volume.findDeviceId();
    const load = startVerifiedLoad(join(volume.targetPath, "load"));
    load.catch(() => undefined);
    await waitForIo(deviceId, 200);
    await bed.driver.terminate();
    await bed.restart();
    await bed.driver.kill();
    await bed.restart();
    await load;
    const entry = await new FileJournal(join(directory, "state/engine/devices")).read(volume.id);
    expect(entry).toMatchObject({ deviceId, generation: 1 });
    await volume.finish();
  });

  test("waits with its calls for an engine that restarts", async () => {
    const volume = bed.volume({ name: "patient", sizeBytes: 64 * mebibyte, access: { kind: "mount", fsType: "ext4" } });
    await volume.create();
    await engine.kill();
    const staged = volume.stage();
    engine = await engine.restart();
    await staged;
    await volume.publish();
    await volume.finish();
  });
});
