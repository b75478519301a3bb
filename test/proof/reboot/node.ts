import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DriverProcess } from "../../vm/suites/support/driver-process.js";
import { writeDurably } from "../../vm/suites/support/durable-file.js";
import { InlineVolume } from "../../vm/suites/support/inline-volume.js";
import { findMountsBelow } from "../../vm/suites/support/mounts.js";
import { findScratchDisk } from "../../vm/suites/support/pool-place.js";
import { runCommand } from "../../vm/suites/support/run-command.js";
import { SnapshotCalls } from "../../vm/suites/support/snapshot-calls.js";
import { TestVolume, type VolumeWish } from "../../vm/suites/support/test-volume.js";

const mountPoint = "/run/ublk-proof/disk";
const memoryPoolBytes = 128 * 1024 ** 2;

/** One boot of a node whose disk outlives it: pool, state of the driver, and kubelet's directory lie on that. */
export class Node {
  readonly directory = join(mountPoint, "node");
  readonly kubeletDirectory = join(this.directory, "kubelet");
  readonly imageDirectory = join(mountPoint, "pool", "volumes");
  private driver: DriverProcess | undefined;

  /** The node's first boot formats the disk, and the others mount it as they find it. */
  static async boot({ isFirst }: { isFirst: boolean }): Promise<Node> {
    const disk = findScratchDisk();
    if (isFirst) await runCommand("mkfs.xfs", ["-q", "-f", "-K", disk]);
    await mkdir(mountPoint, { recursive: true });
    await runCommand("mount", [disk, mountPoint]);
    await mkdir(join(mountPoint, "pool"), { recursive: true });
    return new Node();
  }

  async startDriver(): Promise<void> {
    const { directory } = this;
    await mkdir(directory, { recursive: true });
    const configPath = join(directory, "config.yaml");
    await writeFile(configPath, "ephemeral: { pools: [disk, memory] }\n");
    const pools = { disk: join(mountPoint, "pool") };
    this.driver = await DriverProcess.start({ directory, configPath, pools, memoryPools: { memory: memoryPoolBytes } });
  }

  get client() {
    if (this.driver === undefined) throw new Error("the driver was not started yet");
    return this.driver.client;
  }

  get snapshots(): SnapshotCalls {
    return new SnapshotCalls(() => this.client);
  }

  volume(wish: VolumeWish): TestVolume {
    return new TestVolume(wish, this.kubeletDirectory, () => this.client);
  }

  inline(pod: string, attributes: Record<string, string>): InlineVolume {
    return new InlineVolume({ pod, attributes }, this.kubeletDirectory, () => this.client);
  }

  /** What the cluster remembers about this node. */
  async remember(name: string, value: unknown): Promise<void> {
    await writeDurably(join(this.directory, name), JSON.stringify(value));
  }

  async recall<T>(name: string): Promise<T> {
    return JSON.parse(await readFile(join(this.directory, name), "utf8")) as T;
  }

  /** In the order that a service manager keeps: mounts of pods, driver, disk. */
  async shutDown(): Promise<void> {
    await unmountBelow(this.kubeletDirectory);
    await this.driver?.terminate();
    await unmountBelow(mountPoint);
  }
}

async function unmountBelow(directory: string): Promise<void> {
  for (const mount of findMountsBelow(directory).reverse()) await runCommand("umount", [mount.mountPoint]);
}
