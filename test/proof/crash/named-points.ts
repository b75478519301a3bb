import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { BlockDeviceSpec } from "../../../src/engine/block-devices.js";
import { waitForIo } from "../../vm/suites/support/completed-io.js";
import { loadLibrary } from "../../vm/suites/support/library.js";
import { CheckerLoad } from "../support/checker.js";
import { Engine } from "../support/engine.js";
import type { Verdict } from "../support/verdict.js";
import { createVolume } from "../support/volumes.js";
import { type Phase, phases } from "./phases.js";

const mebibyte = 1024 ** 2;
const bystanderBytes = 16 * mebibyte;
const victimBytes = 4 * mebibyte;
const frozenMs = 30_000;

/**
 * Ends the engine at each named point of each operation, while a bystander's device is under load. The next engine must
 * bring the bystander back, and the same operation, done again, must succeed and leave nothing else behind.
 */
export class NamedPoints {
  private readonly engine: Engine;

  constructor(
    directory: string,
    private readonly imageDirectory: string,
    private readonly verdict: Verdict,
  ) {
    this.engine = new Engine(directory);
  }

  async run(): Promise<void> {
    const { client } = this.engine;
    this.engine.start();
    const { getFeatures } = await loadLibrary();
    const device = await client.attach(await createVolume(this.imageDirectory, "bystander", bystanderBytes));
    const load = new CheckerLoad({ device: device.path, key: 999, threads: 4, pauseUs: 4000 });
    const features = new Set((await getFeatures()).map(({ name }) => name));
    for (const phase of phases) {
      if (!isHere(phase, features)) {
        process.stdout.write(`${phase.name}: not on this kernel\n`);
        continue;
      }
      for (const point of phase.points) await this.dieAt(phase, point, device.deviceId);
    }
    await this.dieWhileFrozen().catch((error: unknown) => this.verdict.addProblem("freeze", error));
    const counts = await load.stop();
    this.verdict.addLoad(counts, load.findings);
    await client.detach("bystander");
    await this.expectOnly([]);
    await this.engine.terminate();
  }

  private async dieAt(phase: Phase, point: string, bystander: number): Promise<void> {
    try {
      const victim = await createVolume(this.imageDirectory, "victim", victimBytes);
      await this.crash(phase, point, victim);
      await waitForIo(bystander, 1, 5);
      await this.expectWorking(victim);
      await this.engine.client.detach(victim.volumeId);
      await this.expectOnly(["bystander"]);
    } catch (error) {
      this.verdict.addProblem(`${phase.name} at ${point}`, error);
    }
  }

  private async crash(phase: Phase, point: string, victim: BlockDeviceSpec): Promise<void> {
    const { engine, verdict } = this;
    await phase.prepare(engine.client, victim);
    await engine.kill();
    const mortal = engine.start({ dieAt: point });
    // The client sends it again to the next engine, so it must succeed in the end.
    const operation = phase.act(engine.client, victim);
    operation.catch(() => undefined); // looked at below, after what happens meanwhile
    await engine.waitForDeath(mortal);
    verdict.kills += 2;
    verdict.namedKills++;
    engine.start();
    await operation;
    await phase.act(engine.client, victim);
  }

  /** Frozen is what a process does, not what a device is: its I/O goes on with the next engine. */
  private async dieWhileFrozen(): Promise<void> {
    const { engine, verdict } = this;
    const victim = await createVolume(this.imageDirectory, "victim", victimBytes);
    const { path } = await engine.client.attach(victim);
    await engine.client.freeze(["bystander", "victim"], { deadlineMs: frozenMs });
    const load = new CheckerLoad({ device: path, key: 8, writes: 50 });
    await engine.kill();
    verdict.kills++;
    verdict.namedKills++;
    engine.start();
    verdict.addLoad(await load.wait(), load.findings);
    const token = await engine.client.freeze(["bystander", "victim"], { deadlineMs: frozenMs });
    await engine.client.thaw(["bystander", "victim"], token);
    await engine.client.detach("victim");
    await this.expectOnly(["bystander"]);
  }

  private async expectWorking(victim: BlockDeviceSpec): Promise<void> {
    const { path } = await this.engine.client.attach(victim);
    const load = new CheckerLoad({ device: path, key: 7, writes: 50 });
    const counts = await load.wait();
    this.verdict.addLoad(counts, load.findings);
  }

  private async expectOnly(volumeIds: string[]): Promise<void> {
    const listed = (await this.engine.client.list()).map(({ volumeId }) => volumeId);
    const journal = await readdir(join(this.engine.stateDir, "engine/devices"));
    const devices = (await readdir("/dev")).filter((name) => name.startsWith("ublkc"));
    const found = `devices ${listed}; journal ${journal}; ${devices.length} kernel devices`;
    const wanted = `devices ${volumeIds}; journal ${volumeIds.map((id) => `${id}.json`)}; ${volumeIds.length} kernel devices`;
    if (found !== wanted) throw new Error(`left behind: ${found}, expected ${wanted}`);
  }
}

function isHere({ needs, lacks }: Phase, features: ReadonlySet<string>): boolean {
  if (lacks !== undefined && features.has(lacks)) return false;
  return needs === undefined || features.has(needs);
}
