import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type NodeParts, runNode } from "../../cli/run-node.js";
import type { NodeConfig } from "../../config.js";
import { FakeBlockDevices } from "../../engine/testing/fake-block-devices.js";
import { createSilentLogger } from "../../log.js";
import { FakeMounter } from "../../node/testing/fake-mounter.js";
import { FakeImageFiles } from "../../system/testing/fake-image-files.js";
import type { CrashSwitch } from "../crash-switch.js";
import { RpcClient, rpcs } from "../rpc-client.js";
import { directoriesAsMemory, mebibyte, runRealCommand } from "../workspace.js";
import { ImageFilesystems } from "./image-filesystems.js";
import { volumeSlots } from "./state.js";
import type { Place, World } from "./world.js";

const deviceVerbs = ["attach", "detach", "resize", "setLimits", "freeze", "thaw", "startCopies", "endCopy"] as const;
const mountVerbs = ["mount", "bind", "unmount", "setDeviceReadOnly"] as const;

/** The driver as its command starts it, in this process, over fakes of the machine that go on when it dies. */
export class FakeWorld implements World {
  readonly unitBytes = mebibyte;
  readonly canGrowInUse = true;
  client!: RpcClient;
  private readonly blockDevices: FakeBlockDevices;
  private readonly mounter = new FakeMounter();
  private readonly filesystems: ImageFilesystems;
  private readonly imageFiles = new FakeImageFiles();
  private readonly directory = mkdtempSync(join(tmpdir(), "ublk-csi-model-"));
  private stop = new AbortController();
  private running: Promise<number> = Promise.resolve(0);

  private constructor(private readonly crash: CrashSwitch) {
    this.blockDevices = new FakeBlockDevices(join(this.directory, "devices"));
    this.blockDevices.isInUse = ({ path }) => this.mounter.uses(path);
    this.filesystems = new ImageFilesystems(this.blockDevices, crash);
    for (const name of ["disk", "kubelet", ...volumeSlots.map((slot) => `kubelet/volume-${slot}`)]) {
      mkdirSync(join(this.directory, name));
    }
  }

  static async start(crash: CrashSwitch): Promise<FakeWorld> {
    const world = new FakeWorld(crash);
    await world.serve();
    return world;
  }

  get kubeletDir(): string {
    return join(this.directory, "kubelet");
  }

  async armDeath(steps: number): Promise<void> {
    this.crash.arm(steps);
  }

  async finishDeath(): Promise<boolean> {
    this.crash.disarm();
    if (!this.crash.isDead) return false;
    await this.startAnew();
    return true;
  }

  async kill(): Promise<void> {
    this.crash.kill();
    await this.startAnew();
  }

  async write({ volumeId }: Place, token: string): Promise<void> {
    await this.filesystems.write(volumeId, token);
  }

  async read({ volumeId }: Place): Promise<string> {
    return await this.filesystems.read(volumeId);
  }

  async listTraces(): Promise<string[]> {
    const files = ["disk", "state/memory", "kubelet"].flatMap((name) => this.listTree(name));
    const devices = (await this.blockDevices.list()).map(({ volumeId }) => `device of ${volumeId}`);
    const copies = this.blockDevices.copyIds.map((id) => `copy ${id}`);
    const mounts = this.mounter.entries.map(({ mountPoint }) => `mount ${mountPoint}`);
    // Kubelet removes the staging directories, which are empty.
    return [...files.filter((path) => !/volume-\d\/staging$/.test(path)), ...devices, ...copies, ...mounts].sort();
  }

  async remove(): Promise<void> {
    await this.end();
    rmSync(this.directory, { recursive: true });
  }

  private async serve(): Promise<void> {
    this.stop = new AbortController();
    this.running = runNode(this.config, this.parts, this.stop.signal);
    this.client = new RpcClient(this.config.socketPath);
    const deadline = Date.now() + 20_000;
    while ((await this.client.call(rpcs.probe, {}, { deadlineMs: 10_000 })).code !== "OK") {
      if (Date.now() > deadline) throw new Error("the driver does not serve 20 s after its start");
    }
  }

  private async startAnew(): Promise<void> {
    await this.end();
    this.crash.revive();
    await this.serve();
  }

  /** A dead process lets go of nothing, but what is held for it, as locks and sockets, goes with it. */
  private async end(): Promise<void> {
    this.client.close();
    this.stop.abort();
    await this.running;
  }

  private get config(): NodeConfig {
    return {
      socketPath: join(this.directory, "run", "csi.sock"),
      nodeId: "node-a",
      stateDir: join(this.directory, "state"),
      kubeletDir: this.kubeletDir,
      engineSocketPath: "/its/devices/are/fakes",
      driverName: "csi.ublk.io",
      logLevel: "info",
      allowBrokenKernel: false,
      pools: [
        { kind: "file", name: "disk", directory: join(this.directory, "disk") },
        { kind: "memory", name: "memory", budgetBytes: 64n * mebibyte },
      ],
    };
  }

  private get parts(): NodeParts {
    const { crash } = this;
    return {
      version: "0.0.0",
      checkKernel: async () => undefined,
      createBlockDevices: () => crash.guard(this.blockDevices, deviceVerbs),
      mounter: crash.guard(this.mounter, mountVerbs),
      filesystems: this.filesystems,
      memoryFilesystems: directoriesAsMemory,
      runCommand: (...args) => crash.step(() => runRealCommand(...args)),
      imageFiles: crash.guard(this.imageFiles, ["clone"]),
      logger: createSilentLogger(),
    };
  }

  private listTree(name: string): string[] {
    const names = readdirSync(join(this.directory, name), { recursive: true }) as string[];
    return names.map((path) => join(name, path));
  }
}
