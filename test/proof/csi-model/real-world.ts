import { mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { syncDirectory } from "../../../src/system/files.js";
import { volumeSlots } from "../../../src/testing/model/state.js";
import type { Place, World } from "../../../src/testing/model/world.js";
import { RpcClient, rpcs } from "../../../src/testing/rpc-client.js";
import { CountedSteps } from "../../vm/suites/support/counted-steps.js";
import { TestBed } from "../../vm/suites/support/test-bed.js";
import { readTraces } from "../../vm/suites/support/traces.js";

const blockOffset = 4096;
const blockBytes = 4096;
const fileName = "token";

/** A driver in a process of its own, on real devices. */
export class RealWorld implements World {
  readonly unitBytes = 16n * 1024n ** 2n;
  canGrowInUse = false;
  client: RpcClient;

  private constructor(
    private readonly bed: TestBed,
    private readonly steps: CountedSteps,
  ) {
    this.client = new RpcClient(bed.driver.client.socketPath);
  }

  static async start(name: string): Promise<RealWorld> {
    const steps = new CountedSteps(`/run/ublk-csi-test/${name}-steps`);
    const world = new RealWorld(await TestBed.start(name, { environment: steps.environment }), steps);
    for (const slot of volumeSlots) await mkdir(join(world.kubeletDir, `volume-${slot}/staging`), { recursive: true });
    const { response } = await world.client.call(rpcs.getPluginCapabilities, {});
    world.canGrowInUse =
      response?.capabilities.some(({ type }) => type?.$case === "volumeExpansion" && type.value.type === 1) ?? false;
    return world;
  }

  get kubeletDir(): string {
    return join(this.bed.directory, "kubelet");
  }

  async armDeath(steps: number): Promise<void> {
    await this.steps.count(this.bed.driver, steps);
  }

  async finishDeath(): Promise<boolean> {
    const { driver } = this.bed;
    if (!(await this.steps.isDone(driver))) await this.steps.count(driver, 0);
    // What goes on in the background may have been the last step only now.
    if (!driver.hasExited) return false;
    await this.kill();
    return true;
  }

  async kill(): Promise<void> {
    await this.bed.driver.kill();
    await this.bed.restart();
    this.client.close();
    this.client = new RpcClient(this.bed.driver.client.socketPath);
  }

  async write({ access, path }: Place, token: string): Promise<void> {
    const file = await open(access === "block" ? path : join(path, fileName), access === "block" ? "r+" : "w");
    try {
      const field = Buffer.alloc(blockBytes);
      field.write(token);
      await file.write(field, 0, blockBytes, access === "block" ? blockOffset : 0);
      await file.sync();
    } finally {
      await file.close();
    }
    if (access === "mount") await syncDirectory(path);
  }

  async read({ access, path }: Place): Promise<string> {
    const file = await open(access === "block" ? path : join(path, fileName)).catch((error: NodeJS.ErrnoException) => {
      if (access === "mount" && error.code === "ENOENT") return undefined;
      throw error;
    });
    if (file === undefined) return "";
    try {
      const field = Buffer.alloc(blockBytes);
      await file.read(field, 0, blockBytes, access === "block" ? blockOffset : 0);
      return field.toString("utf8").replace(/\0+$/, "");
    } finally {
      await file.close();
    }
  }

  async listTraces(): Promise<string[]> {
    const { paths } = await readTraces(this.bed);
    return paths.filter((path) => !transient.test(path));
  }

  /** Ends all there is; fails when that leaves anything on the machine. By force after a failed sequence. */
  async dispose(options?: { byForce: boolean }): Promise<void> {
    this.client.close();
    await this.bed.dispose(options);
  }
}

/** Folders of the engine that are made when they are first needed, and those that kubelet removes itself. */
const transient = /\/engine\/(devices|copies)$|\/volume-\d\/staging$/;
