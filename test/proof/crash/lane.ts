import { mkdir, readdir, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { BlockDevice } from "../../../src/engine/block-devices.js";
import { countCompletedIo, waitForIo } from "../../vm/suites/support/completed-io.js";
import { runCommand } from "../../vm/suites/support/run-command.js";
import { CheckerLoad } from "../support/checker.js";
import { Engine } from "../support/engine.js";
import { FioLoop } from "../support/fio-loop.js";
import type { Verdict } from "../support/verdict.js";
import { createVolume } from "../support/volumes.js";
import { Churn } from "./churn.js";

const mebibyte = 1024 ** 2;
const checkedBytes = 16 * mebibyte;
const fileSystemBytes = 48 * mebibyte;
const fioBytes = mebibyte;
const checkerPauseUs = 4000;
/** How often a kill comes while the engine is still starting, in one of so many. */
const earlyKillEvery = 4;
const killDelayMsMax = 300;
/** How often an engine lives until the third device has come and gone, in one of so many. */
const churnEvery = 8;

/**
 * An engine that is killed again and again at random times, with a checker on one device, `fio --verify` on a file
 * system on another, and a third that comes and goes.
 */
export class Lane {
  private readonly engine: Engine;
  private readonly mountPoint: string;

  constructor(
    private readonly index: number,
    directory: string,
    private readonly imageDirectory: string,
    private readonly verdict: Verdict,
  ) {
    this.engine = new Engine(directory);
    this.mountPoint = join(directory, "mount");
  }

  async run(killCount: number): Promise<void> {
    this.engine.start();
    const checked = await this.attach("checked", checkedBytes);
    const mounted = await this.mount(await this.attach("mounted", fileSystemBytes));
    const load = new CheckerLoad({ device: checked.path, key: this.index + 1, threads: 4, pauseUs: checkerPauseUs });
    const fio = new FioLoop(this.mountPoint, fioBytes);
    const churn = new Churn(this.engine.client, await createVolume(this.imageDirectory, "churn", mebibyte));
    for (let kill = 0; kill < killCount; kill++) {
      if (kill % churnEvery === churnEvery - 1) await churn.nextRound();
      await this.crash(checked, kill);
    }
    this.verdict.churnRounds += churn.rounds;
    await this.finish("churn", () => churn.stop());
    await this.finish("fio", () => fio.stop());
    const counts = await load.stop();
    this.verdict.addLoad(counts, load.findings);
    await runCommand("umount", [this.mountPoint]);
    await runCommand("fsck.ext4", ["-f", "-n", mounted.path]);
    await this.leaveNothing();
  }

  private async attach(volumeId: string, sizeBytes: number): Promise<BlockDevice> {
    return await this.engine.client.attach(await createVolume(this.imageDirectory, volumeId, sizeBytes));
  }

  private async mount(device: BlockDevice): Promise<BlockDevice> {
    await mkdir(this.mountPoint);
    await runCommand("mkfs.ext4", ["-q", device.path]);
    await runCommand("mount", [device.path, this.mountPoint]);
    return device;
  }

  /** Kills the engine under load, now and then its successor too while that is starting, and waits for I/O to go on. */
  private async crash({ deviceId }: BlockDevice, kill: number): Promise<void> {
    await delay(Math.random() * killDelayMsMax);
    const killedAt = performance.now();
    await this.engine.kill();
    this.verdict.kills++;
    const completed = countCompletedIo(deviceId);
    this.engine.start();
    if (kill % earlyKillEvery === earlyKillEvery - 1) {
      await delay(Math.random() * killDelayMsMax * 2);
      await this.engine.kill();
      this.verdict.kills++;
      this.engine.start();
    }
    await waitForIo(deviceId, completed + 1 - countCompletedIo(deviceId), 5);
    this.verdict.pausesMs.push(performance.now() - killedAt);
  }

  private async finish(what: string, action: () => Promise<unknown>): Promise<void> {
    await action().catch((error: unknown) => {
      this.verdict.applicationErrors++;
      this.verdict.addProblem(`lane ${this.index}: ${what}`, error);
    });
  }

  private async leaveNothing(): Promise<void> {
    const { client, stateDir } = this.engine;
    for (const volumeId of ["checked", "mounted", "churn"]) await client.detach(volumeId);
    const devices = await client.list();
    const files = await readdir(join(stateDir, "engine/devices"));
    for (const left of [...devices.map(({ path }) => path), ...files]) {
      this.verdict.addProblem(`lane ${this.index}`, `${left} was left behind`);
    }
    await this.engine.terminate();
    for (const line of await this.engine.readErrors()) this.verdict.addProblem(`lane ${this.index}: engine log`, line);
    await rmdir(this.mountPoint);
  }
}
