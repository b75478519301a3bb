import { mkdtemp, rm, truncate } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import type { EngineClient } from "../../../src/daemon/engine-client.js";
import type { BlockDevice, BlockDeviceLimits, BlockDeviceSpec } from "../../../src/engine/block-devices.js";
import { FileJournal } from "../../../src/engine/journal/journal.js";
import { type BlockDevicesHarness, describeBlockDevices } from "../../../src/engine/testing/block-devices-contract.js";
import { removeDevice } from "../../../src/ublk/index.js";
import { EngineDaemon } from "./support/engine-daemon.js";
import { EngineProcess } from "./support/engine-process.js";
import { ImageDirectory } from "./support/image-directory.js";
import { kernelHas } from "./support/kernel-has.js";
import { type MachineState, readMachineState, waitUntilNothingIsLeft } from "./support/machine-state.js";
import { runCommand, tryCommand } from "./support/run-command.js";
import { scale } from "./support/scale.js";

const sizeBytes = 32 * 1024 ** 2;

const daemonDirectory = "/run/ublk-block-devices-daemon";

let images: ImageDirectory;
let engines: Engines;
let machineBefore: MachineState;

beforeAll(async () => {
  images = await ImageDirectory.create();
  engines = await Engines.create();
});

afterAll(async () => {
  await engines.end();
  await images.destroy();
});

beforeEach(async () => {
  machineBefore = await readMachineState();
});

async function createVolume(volumeId: string): Promise<BlockDeviceSpec> {
  const image = { kind: "file", path: await images.createImage(sizeBytes) } as const;
  const geometry = { sizeBytes: BigInt(sizeBytes), logicalBlockSizeBytes: 512 };
  return { volumeId, image, ...geometry, readOnly: false, discard: false };
}

/** Mounts a file system of the device. Returns what ends that. */
async function mount({ path, volumeId }: BlockDevice): Promise<() => Promise<void>> {
  const mountPoint = await mkdtemp(`/tmp/${volumeId}-`);
  await runCommand("mkfs.ext4", ["-q", path]);
  await runCommand("mount", [path, mountPoint]);
  return async () => {
    await runCommand("umount", [mountPoint]);
    await rm(mountPoint, { recursive: true });
  };
}

/** Engines that share a journal, one after another. */
class Engines {
  private engine: EngineProcess;

  private constructor(private readonly folder: string) {
    this.engine = new EngineProcess(join(folder, "devices"));
  }

  static async create(): Promise<Engines> {
    return new Engines(await mkdtemp("/tmp/ublk-engine-"));
  }

  get current(): EngineProcess {
    return this.engine;
  }

  async restart(): Promise<EngineProcess> {
    await this.engine.kill();
    this.engine = new EngineProcess(join(this.folder, "devices"));
    return this.engine;
  }

  /** What the next engine would give the device. */
  async readLimits(volumeId: string): Promise<BlockDeviceLimits> {
    return (await new FileJournal(join(this.folder, "devices")).read(volumeId))?.limits ?? {};
  }

  /** Leaves an engine without devices to the next case: starting one for each would take most of the time. */
  async clear(): Promise<void> {
    if (!(await this.canServe())) await this.restart();
    await this.engine.adopt();
    for (const { volumeId } of await this.engine.list()) await this.engine.detach(volumeId);
    await waitUntilNothingIsLeft(machineBefore);
  }

  async end(): Promise<void> {
    await this.engine.kill();
    await rm(this.folder, { recursive: true });
  }

  /** Not once it was killed or closed. */
  private async canServe(): Promise<boolean> {
    if (!this.engine.isRunning) return false;
    return await this.engine.detach("nobody").then(
      () => true,
      () => false,
    );
  }
}

async function createHarness(): Promise<BlockDevicesHarness> {
  return {
    isRemote: false,
    devices: engines.current,
    createVolume,
    resizeImage: ({ image }, bytes) => truncate(image.path, Number(bytes)),
    canResize: await kernelHas("UPDATE_SIZE"),
    readLimits: (volumeId) => engines.readLimits(volumeId),
    waitUntilListening: async () => {},
    hold: mount,
    restartAfterKill: () => engines.restart(),
    restartAfterClose: () => engines.restart(),
    destroy: () => engines.clear(),
  };
}

/** One daemon for every case, which the next case finds without devices. */
class RemoteEngine {
  private readonly clients: EngineClient[] = [];

  private constructor(private daemon: EngineDaemon) {}

  static async start(): Promise<RemoteEngine> {
    return new RemoteEngine(await EngineDaemon.start({ directory: daemonDirectory }));
  }

  connect(): EngineClient {
    const client = this.daemon.connect();
    this.clients.push(client);
    return client;
  }

  async restart(how: "kill" | "terminate"): Promise<EngineClient> {
    await this.daemon[how]();
    this.daemon = await this.daemon.restart();
    return this.connect();
  }

  async clear(): Promise<void> {
    const client = this.connect();
    for (const { volumeId } of await client.list()) await client.detach(volumeId);
    for (const open of this.clients.splice(0)) await open.close();
  }

  async end(): Promise<void> {
    await this.daemon.terminate();
    await this.daemon.keepLog("block-devices-daemon");
    await rm(daemonDirectory, { recursive: true });
  }
}

let remote: RemoteEngine;

async function createRemoteHarness(): Promise<BlockDevicesHarness> {
  const devices = remote.connect();
  const journal = new FileJournal(join(daemonDirectory, "state/engine/devices"));
  return {
    isRemote: true,
    devices,
    createVolume,
    resizeImage: ({ image }, bytes) => truncate(image.path, Number(bytes)),
    canResize: await kernelHas("UPDATE_SIZE"),
    readLimits: async (volumeId) => (await journal.read(volumeId))?.limits ?? {},
    waitUntilListening: () => devices.waitUntilListening(),
    hold: mount,
    restartAfterKill: () => remote.restart("kill"),
    restartAfterClose: () => remote.restart("terminate"),
    destroy: () => remote.clear(),
  };
}

if (scale === "full") {
  describe("over a socket,", () => {
    beforeAll(async () => {
      remote = await RemoteEngine.start();
    });

    afterAll(async () => {
      await remote.end();
    });

    describeBlockDevices("EngineClient on real devices", createRemoteHarness);
  });
}

if (scale === "full") describeBlockDevices("UblkBlockDevices on real devices", createHarness);

describe("a used device", () => {
  let device: BlockDevice;

  beforeEach(async () => {
    device = await engines.current.attach(await createVolume("vol"));
  });

  afterEach(async () => {
    await engines.clear();
  });

  async function expectInUse(user: string): Promise<void> {
    const message = expect.stringContaining(user);
    await expect(engines.current.detach("vol")).rejects.toMatchObject({ code: "in_use", message });
    expect(await engines.current.find("vol")).toEqual(device);
  }

  test("is recognised by its mount, also with a file system that has a device number of its own", async () => {
    const mountPoint = await mkdtemp("/tmp/btrfs-");
    await runCommand("truncate", ["-s", "256M", join(images.path, "large")]);
    const image = { kind: "file", path: join(images.path, "large") } as const;
    const spec = { ...(await createVolume("large")), image, sizeBytes: 256n << 20n };
    const large = await engines.current.attach(spec);
    await runCommand("mkfs.btrfs", ["-q", large.path]);
    await runCommand("mount", [large.path, mountPoint]);
    const message = expect.stringContaining(`mount ${mountPoint}`);
    await expect(engines.current.detach("large")).rejects.toMatchObject({ code: "in_use", message });
    await runCommand("umount", [mountPoint]);
    await rm(mountPoint, { recursive: true });
    await engines.current.detach("large");
  });

  test("is recognised by its node bound elsewhere", async () => {
    const target = join(await mkdtemp("/tmp/raw-"), "device");
    await runCommand("touch", [target]);
    await runCommand("mount", ["--bind", device.path, target]);
    await expectInUse(`mount ${target}`);
    await runCommand("umount", [target]);
    await engines.current.detach("vol");
  });

  test("is recognised by a device stacked on it", async () => {
    await tryCommand("modprobe", ["-q", "dm_mod"]); // built into some kernels, which then have no such module
    const table = `0 ${sizeBytes / 512} linear ${device.path} 0`;
    await runCommand("dmsetup", ["create", "ublk-test", "--table", table]);
    await expectInUse("holder dm-");
    await runCommand("dmsetup", ["remove", "ublk-test"]);
    await engines.current.detach("vol");
  });

  test("is recognised by a mount in another mount namespace", async () => {
    await runCommand("mkfs.ext4", ["-q", device.path]);
    const ready = join(images.path, "ready");
    const script = 'mount "$1" /mnt && touch "$2" && while [ -e "$2" ]; do sleep 0.05; done';
    const holder = runCommand("unshare", ["--mount", "bash", "-c", script, "holder", device.path, ready]);
    await runCommand("bash", ["-c", 'until [ -e "$1" ]; do sleep 0.05; done', "wait", ready]);
    await expectInUse("mount /mnt");
    await rm(ready);
    await holder;
    await engines.current.detach("vol");
  });

  test("keeps its mount through a kill of the engine, and is not removed while it waits", async () => {
    const letGo = await mount(device);
    await engines.restart();
    await expect(engines.current.detach("vol")).rejects.toMatchObject({ name: "BlockDeviceError" });
    await engines.current.adopt();
    expect(await engines.current.find("vol")).toEqual(device);
    await letGo();
    await engines.current.detach("vol");
  });

  test("that somebody removed is forgotten at the next start", async () => {
    await engines.current.kill();
    await removeUntilGone(device.deviceId);
    const next = await engines.restart();
    expect(await next.adopt()).toMatchObject({ entries: [{ volumeId: "vol", action: "removed" }] });
    expect(await next.list()).toEqual([]);
  });
});

/** The old server's descriptor may be open for a moment after its death. */
async function removeUntilGone(deviceId: number): Promise<void> {
  const deadline = performance.now() + 10_000;
  for (;;) {
    try {
      return await removeDevice(deviceId, { force: true });
    } catch (error) {
      if (performance.now() > deadline) throw error;
    }
  }
}
