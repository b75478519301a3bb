import { copyFile, mkdir, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { DriverProcess, type DriverSettings } from "./driver-process.js";
import { loadLibrary } from "./library.js";
import { type MachineState, readMachineState, waitUntilNothingIsLeft } from "./machine-state.js";
import { findMountsBelow } from "./mounts.js";
import { mountPoolDisk, type PoolPlace } from "./pool-place.js";
import { tryCommand } from "./run-command.js";
import { TestVolume, type VolumeWish } from "./test-volume.js";

const memoryPoolBytes = 512 * 1024 ** 2;

/**
 * A driver with a file pool `disk`, the default one, and a memory pool `memory`, and the volumes made with it. `dispose`
 * leaves the machine as it was, and fails when the driver had not.
 */
export class TestBed {
  driver: DriverProcess;
  private readonly volumes: TestVolume[] = [];

  private constructor(
    private readonly before: MachineState,
    readonly directory: string,
    private readonly place: PoolPlace,
    driver: DriverProcess,
  ) {
    this.driver = driver;
  }

  /** A bed in a guest, on its scratch disk. `name` tells the beds of several suites apart. */
  static async start(name: string, settings: Partial<DriverSettings> = {}): Promise<TestBed> {
    const directory = join("/run/ublk-csi-test", name);
    const preparePlace = () => mountPoolDisk(join(directory, "disk"));
    return await TestBed.startIn(directory, preparePlace, { logLevel: "debug", ...settings });
  }

  /** A bed in a directory of the caller's, which must not exist. */
  static async startIn(
    directory: string,
    preparePlace: () => Promise<PoolPlace>,
    settings: Partial<DriverSettings> = {},
  ): Promise<TestBed> {
    const before = await readMachineState();
    await mkdir(directory, { recursive: true });
    const place = await preparePlace();
    const pools = { disk: place.path };
    const memoryPools = { memory: memoryPoolBytes };
    try {
      const driver = await DriverProcess.start({ directory, pools, memoryPools, ...settings });
      return new TestBed(before, directory, place, driver);
    } catch (error) {
      await unmountMemoryPools(directory);
      await place.release();
      await rm(directory, { recursive: true });
      throw error;
    }
  }

  get poolPath(): string {
    return this.place.path;
  }

  get stateDir(): string {
    return join(this.directory, "state");
  }

  /** A volume of this driver, which `dispose` removes when the test does not. */
  volume(wish: VolumeWish): TestVolume {
    const volume = new TestVolume(wish, join(this.directory, "kubelet"), () => this.driver.client);
    this.volumes.push(volume);
    return volume;
  }

  /** The image of a volume of the file pool. */
  imagePath(volume: TestVolume): string {
    return join(this.poolPath, "volumes", volume.id, "image");
  }

  /** Starts the next driver after this one was killed or terminated. */
  async restart(): Promise<void> {
    this.driver = await this.driver.restart();
  }

  /**
   * Ends all there is and puts the machine back; whatever the driver should have removed itself is an error. By force also
   * what it was never asked to remove.
   */
  async dispose({ byForce = false } = {}): Promise<void> {
    const problems: unknown[] = [];
    const attempt = (action: () => Promise<unknown>) => action().catch((error: unknown) => problems.push(error));
    for (const volume of this.volumes.filter(({ isCreated }) => isCreated)) await attempt(() => volume.finish());
    await attempt(() => this.driver.terminate());
    await attempt(() => this.keepLog());
    if (byForce || problems.length > 0) await attempt(() => this.removeByForce());
    await unmountMemoryPools(this.directory);
    await attempt(() => this.place.release());
    await attempt(() => waitUntilNothingIsLeft(this.before));
    if (problems.length > 0) throw new AggregateError(problems, `cleaning up: ${problems.map(String).join("; ")}`);
    await rm(this.directory, { recursive: true });
  }

  private async removeByForce(): Promise<void> {
    for (const { mountPoint } of findMountsBelow(join(this.directory, "kubelet")).reverse()) {
      await tryCommand("umount", ["-l", mountPoint]);
    }
    const { listDevices, removeDevice } = await loadLibrary();
    for (const { deviceId } of await listDevices()) {
      if (this.before.devices.includes(`/dev/ublkc${deviceId}`)) continue;
      await removeDevice(deviceId, { force: true });
    }
  }

  /** Brought out of the guest, for whoever looks for the cause of a failure. */
  private async keepLog(): Promise<void> {
    const folder = process.env.UBLK_RESULTS;
    if (folder !== undefined)
      await copyFile(this.driver.logPath, join(folder, `driver-${basename(this.directory)}.log`));
  }
}

// The tmpfs of a memory pool outlives its driver, as its volumes do: only who knows that no driver returns ends it.
async function unmountMemoryPools(directory: string): Promise<void> {
  const memoryMounts = findMountsBelow(join(directory, "state/memory"));
  for (const { mountPoint } of memoryMounts) await tryCommand("umount", [mountPoint]);
}
