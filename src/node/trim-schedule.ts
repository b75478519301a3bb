import type { Volume } from "../pools/volume.js";
import { DeviceMounts } from "./device-mounts.js";
import type { NodeDependencies } from "./node-dependencies.js";

const tickMs = 60_000;
const trimTimeoutMs = 60 * 60_000;
const minuteMs = 60_000;

/**
 * Trims each mounted volume that has an interval, when that has passed since the last time, whichever process did it then.
 * One volume after another: this is work for idle times.
 */
export class TrimSchedule {
  private timer: NodeJS.Timeout | undefined;
  private pass: Promise<void> | undefined;
  private current: string | undefined;
  private isStopped = false;

  constructor(private readonly dependencies: NodeDependencies) {}

  start(): void {
    this.timer = setInterval(() => void this.runPass(), tickMs);
    this.timer.unref();
  }

  /** Begins nothing more, and ends what is going on. */
  async stop(): Promise<void> {
    this.isStopped = true;
    clearInterval(this.timer);
    if (this.current !== undefined) await this.dependencies.trimmer.stop(this.current);
    await this.pass;
  }

  /** Trims all that are due; joins a pass that is not over yet. */
  async runPass(): Promise<void> {
    this.pass ??= this.trimDue().finally(() => {
      this.pass = undefined;
    });
    await this.pass;
  }

  private async trimDue(): Promise<void> {
    const { pools, logger } = this.dependencies;
    for (const volume of pools.listVolumes()) {
      if (this.isStopped) return;
      await this.trimIfDue(volume).catch((err: unknown) =>
        logger.warn({ volumeId: volume.id, err }, "cannot see whether to trim"),
      );
    }
  }

  private async trimIfDue(volume: Volume): Promise<void> {
    const { pools, trimmer } = this.dependencies;
    const { trimIntervalMinutes } = volume.parameters;
    if (trimIntervalMinutes === undefined) return;
    const mark = pools.poolOf(volume).mark(volume.id, "trimmed");
    const lastMs = (await mark.findTimeMs()) ?? Date.parse(volume.createdAt);
    if (Date.now() - lastMs < trimIntervalMinutes * minuteMs) return;
    const mountPoint = await this.findMountPoint(volume.id);
    if (mountPoint === undefined) return;
    this.current = volume.id;
    const outcome = await trimmer.trim({ volume, mountPoint, timeoutMs: trimTimeoutMs });
    this.current = undefined;
    // A failure waits for its next turn like a success: trying at once would fail the same way.
    if (outcome !== "stopped") await mark.set();
  }

  private async findMountPoint(volumeId: string): Promise<string | undefined> {
    const { devices, mounter } = this.dependencies;
    const device = await devices.find(volumeId);
    if (device?.state !== "live") return undefined;
    return (await DeviceMounts.read(device, mounter)).writable?.mountPoint;
  }
}
