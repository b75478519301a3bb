import { chmod, mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import type { EngineClient } from "../../../src/daemon/engine-client.js";
import { waitForIo } from "./support/completed-io.js";
import { EngineDaemon, engineArguments } from "./support/engine-daemon.js";
import { createEngineVolume, startVerifiedLoad } from "./support/engine-volume.js";
import { ImageDirectory } from "./support/image-directory.js";
import { type MachineState, readMachineState, waitUntilNothingIsLeft } from "./support/machine-state.js";
import { repositoryPath } from "./support/repository.js";
import { runCommand, tryCommand } from "./support/run-command.js";
import { onlyInFull } from "./support/scale.js";
import { waitFor } from "./support/wait-for.js";

const directory = "/run/ublk-engine-test";

let machineBefore: MachineState;
let images: ImageDirectory;
let daemon: EngineDaemon;
let client: EngineClient;

beforeAll(async () => {
  machineBefore = await readMachineState();
  images = await ImageDirectory.create();
  daemon = await EngineDaemon.start({ directory });
});

afterAll(async () => {
  await daemon.terminate();
  await daemon.keepLog("engine-daemon");
  await images.destroy();
  await rm(directory, { recursive: true });
  await waitUntilNothingIsLeft(machineBefore);
});

beforeEach(() => {
  client = daemon.connect();
});

afterEach(async () => {
  for (const { volumeId } of await client.list()) await client.detach(volumeId);
  await client.close();
});

/** Runs another engine to its end. */
async function runEngine(settings: { directory: string; flags?: string[] }) {
  const program = join(repositoryPath, "dist/bin/ublk-csi.js");
  return await tryCommand(process.execPath, [program, ...engineArguments(settings)]);
}

const readEntry = (volumeId: string) => readFile(join(directory, "state/engine/devices", `${volumeId}.json`), "utf8");

describe("an engine in a process of its own", () => {
  test("is killed under a verified load, and the next one takes the devices: a pause, and no error", async () => {
    const device = await client.attach(await createEngineVolume(images, "one"));
    const load = startVerifiedLoad(device.path);
    load.catch(() => undefined);
    await waitForIo(device.deviceId, 200);
    await daemon.kill();
    const found = client.find("one"); // asked while there is nobody to answer
    daemon = await daemon.restart();
    expect(await found).toEqual(device);
    await load;
  });

  test("leaves its devices to the next one when it is told to end, and I/O waits", async () => {
    const device = await client.attach(await createEngineVolume(images, "one"));
    expect(await daemon.terminate()).toBe(0);
    const reading = runCommand("dd", [`if=${device.path}`, "of=/dev/null", "iflag=direct", "bs=4k", "count=1"]);
    daemon = await daemon.restart();
    expect(await client.find("one")).toEqual(device);
    await reading;
  });

  onlyInFull(() => {
    test("says with --dry-run what a start would do, and changes nothing", async () => {
      const device = await client.attach(await createEngineVolume(images, "one"));
      await daemon.kill();
      const before = await readEntry("one");
      const { exitCode, stdout, stderr } = await runEngine({ directory, flags: ["--dry-run"] });
      expect(exitCode).toBe(0);
      expect(stderr).toContain('"msg":"kernel serves ublk devices"');
      expect(stdout).not.toContain('"msg"');
      expect(stdout).toMatch(
        /^VOLUME +DEVICE +JOURNAL +KERNEL +ACTION +REASON\none +\/dev\/ublkb\d+ +serving, gen.*adopt/,
      );
      expect(await readEntry("one")).toBe(before);
      const nowhere = join(directory, "nowhere");
      await runEngine({ directory: nowhere, flags: ["--dry-run", "--log-level", "fatal"] });
      expect(await readdir(directory)).not.toContain("nowhere");
      daemon = await daemon.restart();
      expect(await client.find("one")).toEqual(device);
    });

    test("has its state directory to itself", async () => {
      const device = await client.attach(await createEngineVolume(images, "one"));
      const { exitCode, stderr } = await runEngine({ directory });
      const message = `ublk-csi: state directory ${directory}/state is in use by process ${daemon.pid}: stop it, or choose another\n`;
      expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: message });
      expect(await client.find("one")).toEqual(device);
    });

    test("serves no socket in a directory that others may enter", async () => {
      const open = "/run/ublk-engine-open";
      await mkdir(open, { recursive: true });
      await chmod(open, 0o755);
      const { exitCode, stderr } = await runEngine({ directory: open });
      expect(exitCode).toBe(1);
      expect(stderr).toContain(`${open} has mode 0755, so that others could command the engine: chmod 0700 ${open}`);
      await rm(open, { recursive: true });
    });

    test("refuses a device when its journal cannot be written, and leaves nothing of it", async () => {
      const state = join(directory, "state");
      const spec = await createEngineVolume(images, "one");
      await daemon.terminate();
      await runCommand("mount", ["-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", state]);
      daemon = await daemon.restart();
      await tryCommand("dd", ["if=/dev/zero", `of=${state}/filler`, "bs=1k"]);
      await expect(client.attach(spec)).rejects.toMatchObject({ message: expect.stringContaining("ENOSPC") });
      expect(await client.list()).toEqual([]);
      await rm(`${state}/filler`);
      expect(await client.attach(spec)).toMatchObject({ state: "live" });
      await client.detach("one");
      await daemon.terminate();
      await runCommand("umount", [state]);
      daemon = await daemon.restart();
    });

    test("tells its listeners of I/O errors, with where they were", async () => {
      const events: unknown[] = [];
      const spec = await createEngineVolume(images, "one");
      const device = await client.attach(spec);
      const unsubscribe = client.onEvent((event) => void events.push(event));
      await client.waitUntilListening();
      await runCommand("truncate", ["--size=16M", spec.image.path]);
      const beyond = [`if=${device.path}`, "of=/dev/null", "iflag=direct", "bs=4k", "count=1", "skip=5000"];
      expect((await tryCommand("dd", beyond)).exitCode).not.toBe(0);
      await waitFor("the listener hears of it", () => events.length > 0, { timeoutMs: 30_000 });
      unsubscribe();
      const { deviceId } = device;
      const where = { operation: "read", errnoName: "EIO", offsetBytes: 5000n * 4096n, lengthBytes: 4096 };
      expect(events).toContainEqual({
        kind: "io-error",
        volumeId: "one",
        deviceId,
        atMs: expect.any(Number),
        ...where,
      });
      await runCommand("truncate", ["--size=32M", spec.image.path]);
    });
  });
});
