import { rm } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { EngineClient } from "../../../src/daemon/engine-client.js";
import type { BlockDeviceSpec } from "../../../src/engine/block-devices.js";
import { waitForIo } from "./support/completed-io.js";
import { EngineDaemon } from "./support/engine-daemon.js";
import { ImageDirectory } from "./support/image-directory.js";
import { type MachineState, readMachineState, waitUntilNothingIsLeft } from "./support/machine-state.js";
import { runCommand } from "./support/run-command.js";

const sizeBytes = 32 * 1024 ** 2;
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
  await images.destroy();
  await rm(directory, { recursive: true });
  await waitUntilNothingIsLeft(machineBefore);
});

async function createVolume(volumeId: string): Promise<BlockDeviceSpec> {
  const image = { kind: "file", path: await images.createImage(sizeBytes) } as const;
  const geometry = { sizeBytes: BigInt(sizeBytes), logicalBlockSizeBytes: 512 };
  return { volumeId, image, ...geometry, readOnly: false, discard: false };
}

/** Random writes, each read back and compared. */
function startVerifiedLoad(path: string): Promise<string> {
  const job = ["--name=load", `--filename=${path}`, "--rw=randwrite", "--bs=4k", "--iodepth=8", "--ioengine=libaio"];
  const check = ["--direct=1", "--verify=crc32c", "--verify_fatal=1", "--verify_backlog=256", "--size=16m"];
  return runCommand("fio", [...job, ...check, "--loops=2"]);
}

describe("an engine in a process of its own", () => {
  test("is killed under a verified load, and the next one takes the devices: a pause, and no error", async () => {
    const device = await client.attach(await createVolume("one"));
    const load = startVerifiedLoad(device.path);
    load.catch(() => undefined);
    await waitForIo(device.deviceId, 200);
    await daemon.kill();
    daemon = await daemon.restart();
    expect(await client.find("one")).toEqual(device);
    await load;
  });
});
