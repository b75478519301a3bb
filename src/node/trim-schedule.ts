import type { VolumeMark } from "../pools/records/volume-mark.js";
import type { Volume } from "../pools/volume/volume.js";
import { RepeatedPass } from "../system/repeated-pass.js";
import { DeviceMounts } from "./mounts/device-mounts.js";
import type { NodeDependencies } from "./node-dependencies.js";

const tickMs = 60_000;
const trimTimeoutMs = 60 * 60_000;
const minuteMs = 60_000;

/**
 * Trims each mounted volume that has an interval, when that has passed since the last time, whichever process did it then.
 * One volume after another: this is work for idle times.
 */
export class TrimSchedule {
  private readonly pass = new RepeatedPass(tickMs, () => this.trimDue());
  private current: string | undefined;
  /** When this process trimmed a volume last, for where the mark could not be set: a full pool takes none. */
  private readonly lastTurnsMs = new Map<string, number>();

  constructor(private readonly dependencies: NodeDependencies) {}

  start(): void {
    this.pass.start();
  }

  /** Begins nothing more, and ends what is going on. False when that has not ended in so long. */
  async stop(waitMsMax: number): Promise<boolean> {
    const stopped = this.pass.stop(waitMsMax);
    if (this.current !== undefined) void this.dependencies.trimmer.stop(this.current);
    return await stopped;
  }

  /** Trims all that are due; joins a pass that is not over yet. */
  async runPass(): Promise<void> {
    await this.pass.run();
  }

  private async trimDue(): Promise<void> {
    const { pools, logger } = this.dependencies;
    for (const volume of pools.listVolumes()) {
      if (this.pass.isStopped) return;
      await this.trimIfDue(volume).catch((err: unknown) =>
        logger.warn({ volumeId: volume.id, err }, "cannot see whether to trim"),
      );
    }
    for (const id of this.lastTurnsMs.keys()) if (pools.peekVolume(id) === undefined) this.lastTurnsMs.delete(id);
  }

  private async trimIfDue(volume: Volume): Promise<void> {
    const { trimIntervalMinutes } = volume.parameters;
    if (trimIntervalMinutes === undefined) return;
    if (Date.now() - (await this.findLastTurnMs(volume)) < trimIntervalMinutes * minuteMs) return;
    const mountPoint = await this.findMountPoint(volume.id);
    if (mountPoint === undefined || this.pass.isStopped) return;
    this.current = volume.id;
    const outcome = await this.dependencies.trimmer.trim({ volume, mountPoint, timeoutMs: trimTimeoutMs });
    this.current = undefined;
    // A failure waits for its next turn like a success: trying at once would fail the same way.
    if (outcome !== "stopped") await this.keepTurn(volume);
  }

  private async findLastTurnMs(volume: Volume): Promise<number> {
    const markedMs = (await this.markOf(volume).findTimeMs()) ?? Date.parse(volume.createdAt);
    return Math.max(markedMs, this.lastTurnsMs.get(volume.id) ?? 0);
  }

  private async keepTurn(volume: Volume): Promise<void> {
    const { logger } = this.dependencies;
    this.lastTurnsMs.set(volume.id, Date.now());
    try {
      await this.markOf(volume).set();
    } catch (err) {
      logger.warn({ volumeId: volume.id, err }, "time of a trim not kept: after a restart the next may come early");
    }
  }

  private markOf(volume: Volume): VolumeMark {
    return this.dependencies.pools.poolOf(volume).mark(volume.id, "trimmed");
  }

  private async findMountPoint(volumeId: string): Promise<string | undefined> {
    const { devices, mounter } = this.dependencies;
    const device = await devices.find(volumeId);
    if (device?.state !== "live") return undefined;
    return (await DeviceMounts.read(device, mounter)).writable?.mountPoint;
  }
}
