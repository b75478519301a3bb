import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FakeBlockDevices } from "../engine/testing/fake-block-devices.js";
import { isErrorLike } from "../errors.js";
import { createSilentLogger } from "../log.js";
import { noMapping } from "../node/mounts/device-mapping.js";
import type { NodeDependencies } from "../node/node-dependencies.js";
import { FakeFilesystems } from "../node/testing/fake-filesystems.js";
import { FakeMounter } from "../node/testing/fake-mounter.js";
import { VolumeDevices } from "../node/volume-devices.js";
import { VolumeTrimmer } from "../node/volume-trimmer.js";
import type { PoolSettings } from "../pools/capacity/pool-settings.js";
import type { MemoryFilesystems } from "../pools/pool/memory-filesystem.js";
import { openPools, type PoolDependencies, type PoolRequest } from "../pools/pool/open-pools.js";
import type { Pools } from "../pools/pool/pools.js";
import { VolumeContents } from "../pools/provisioning/volume-content.js";
import { VolumeProvisioner } from "../pools/provisioning/volume-provisioner.js";
import { openSnapshots, type Snapshots } from "../pools/snapshots/open-snapshots.js";
import { SnapshotGroups } from "../pools/snapshots/snapshot-groups.js";
import { Snapshotter } from "../pools/snapshots/snapshotter.js";
import type { VolumeCapability } from "../pools/volume/volume.js";
import { createCommandRunner, type RunCommand } from "../system/command.js";
import { FakeImageFiles } from "../system/testing/fake-image-files.js";

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
  readonly imageFiles = new FakeImageFiles();
  /** Of the memory pool, from the next `reopen` on. */
  memorySettings: Partial<PoolSettings> = {};
  pools!: Pools;
  snapshots!: Snapshots;

  readonly trimmer: VolumeTrimmer;

  private constructor(readonly directory: string) {
    this.trimmer = new VolumeTrimmer(this);
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
      { kind: "memory", name: "memory", budgetBytes: 64n * mebibyte, settings: this.memorySettings },
    ];
  }

  get poolDependencies(): PoolDependencies {
    return {
      stateDir: this.directory,
      nodeId: "node-a",
      memoryFilesystems: directoriesAsMemory,
      runCommand: (program, args, options) => this.runCommand(program, args, options),
      imageFiles: this.imageFiles,
      lockPool: async () => undefined,
      logger: this.logger,
    };
  }

  get devices(): VolumeDevices {
    return new VolumeDevices({ mapping: noMapping, ...this });
  }

  get provisioner(): VolumeProvisioner {
    const { snapshots, pools, blockDevices } = this;
    const contents = new VolumeContents({ ...snapshots, pools, blockDevices, runLocked: (_keys, work) => work() });
    return new VolumeProvisioner(pools, blockDevices, contents);
  }

  get snapshotter(): Snapshotter {
    return new Snapshotter({ ...this.snapshots, pools: this.pools });
  }

  get groups(): SnapshotGroups {
    return new SnapshotGroups({ ...this.snapshots, pools: this.pools });
  }

  /** As GetCapacity has it, of a StorageClass with these parameters. */
  async readAvailableBytes(parameters: Record<string, string>): Promise<bigint> {
    return (await this.provisioner.readCapacity({ parameters, capabilities: [] })).availableBytes;
  }

  path(...names: string[]): string {
    return join(this.directory, ...names);
  }

  async makeDirectory(...names: string[]): Promise<string> {
    await mkdir(this.path(...names), { recursive: true });
    return this.path(...names);
  }

  /** Reads the pools from disk again, as a new start of the driver would. */
  async reopen(requests = this.poolRequests): Promise<void> {
    await this.snapshots?.store.close();
    this.pools = await openPools(requests, this.poolDependencies);
    this.snapshots = await openSnapshots({ ...this, copyIntervalMs: 1 });
  }

  async remove(): Promise<void> {
    await this.snapshots.store.close();
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
