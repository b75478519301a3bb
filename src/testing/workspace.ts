import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FakeBlockDevices } from "../engine/testing/fake-block-devices.js";
import { isErrorLike } from "../errors.js";
import { createSilentLogger } from "../log.js";
import { noMapping } from "../node/device-mapping.js";
import type { NodeDependencies } from "../node/node-dependencies.js";
import { FakeFilesystems } from "../node/testing/fake-filesystems.js";
import { FakeMounter } from "../node/testing/fake-mounter.js";
import { VolumeDevices } from "../node/volume-devices.js";
import type { MemoryFilesystems } from "../pools/memory-filesystem.js";
import { openPools, type PoolDependencies, type PoolRequest } from "../pools/open-pools.js";
import type { Pools } from "../pools/pools.js";
import type { VolumeCapability } from "../pools/volume.js";
import { VolumeProvisioner } from "../pools/volume-provisioner.js";
import { createCommandRunner, type RunCommand } from "../system/command.js";

export const mebibyte = 1024n ** 2n;
export const gibibyte = 1024n ** 3n;

export const mountCapability: VolumeCapability = {
  accessType: "mount",
  accessMode: "SINGLE_NODE_WRITER",
  fsType: "ext4",
  mountFlags: [],
};

export const blockCapability: VolumeCapability = { accessType: "block", accessMode: "SINGLE_NODE_WRITER" };

/** Stands in for tmpfs: plain directories. */
export const directoriesAsMemory: MemoryFilesystems = {
  ensure: async (directory) => {
    await mkdir(directory, { recursive: true });
  },
};

export const runRealCommand: RunCommand = createCommandRunner({ PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" });

/** A temporary directory with everything of the driver above fakes, and pools `disk` (the default) and `memory`. */
export class Workspace implements NodeDependencies {
  readonly logger = createSilentLogger();
  readonly mounter = new FakeMounter();
  readonly filesystems = new FakeFilesystems();
  readonly blockDevices: FakeBlockDevices;
  /** Replaced by tests that want a program to fail. */
  runCommand: RunCommand = runRealCommand;
  pools!: Pools;

  private constructor(readonly directory: string) {
    this.blockDevices = new FakeBlockDevices(join(directory, "devices"));
    this.blockDevices.isInUse = (device) => this.mounter.uses(device.path);
  }

  static async create(): Promise<Workspace> {
    const workspace = new Workspace(await mkdtemp(join(tmpdir(), "ublk-csi-test-")));
    await workspace.makeDirectory("disk");
    await workspace.makeDirectory("targets");
    await workspace.reopen();
    return workspace;
  }

  get poolRequests(): PoolRequest[] {
    return [
      { kind: "file", name: "disk", directory: this.path("disk") },
      { kind: "memory", name: "memory", budgetBytes: 64n * mebibyte },
    ];
  }

  get poolDependencies(): PoolDependencies {
    return {
      stateDir: this.directory,
      memoryFilesystems: directoriesAsMemory,
      runCommand: (program, args, options) => this.runCommand(program, args, options),
      lockPool: async () => undefined,
      logger: this.logger,
    };
  }

  get devices(): VolumeDevices {
    return new VolumeDevices({ mapping: noMapping, ...this });
  }

  get provisioner(): VolumeProvisioner {
    return new VolumeProvisioner(this.pools, this.blockDevices);
  }

  path(...names: string[]): string {
    return join(this.directory, ...names);
  }

  async makeDirectory(...names: string[]): Promise<string> {
    await mkdir(this.path(...names), { recursive: true });
    return this.path(...names);
  }

  /** Reads the pools from disk again, as a new start of the driver would. */
  async reopen(): Promise<void> {
    this.pools = await openPools(this.poolRequests, this.poolDependencies);
  }

  async remove(): Promise<void> {
    await rm(this.directory, { recursive: true });
  }
}

/** What a promise was rejected with; a promise that resolves fails the test. */
export async function rejectionOf(promise: Promise<unknown>): Promise<Error & { code?: unknown }> {
  try {
    await promise;
  } catch (error) {
    if (isErrorLike(error)) return error as Error;
    throw new Error(`rejected with something that is not an Error: ${String(error)}`);
  }
  throw new Error("expected a rejection, but it resolved");
}
