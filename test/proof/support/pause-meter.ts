import { countCompletedIo } from "../../vm/suites/support/completed-io.js";

/** As often as the guest's clock ticks. */
const sampleMs = 5;

/** Measures the longest time in which a device under load completed nothing. */
export class PauseMeter {
  private longestMs = 0;
  private lastCount: number;
  private lastChange = performance.now();
  private readonly timer: NodeJS.Timeout;

  constructor(private readonly deviceId: number) {
    this.lastCount = countCompletedIo(deviceId);
    this.timer = setInterval(() => this.sample(), sampleMs);
  }

  stop(): number {
    clearInterval(this.timer);
    this.sample();
    return this.longestMs;
  }

  private sample(): void {
    const now = performance.now();
    this.longestMs = Math.max(this.longestMs, now - this.lastChange);
    const count = countCompletedIo(this.deviceId);
    if (count === this.lastCount) return;
    this.lastCount = count;
    this.lastChange = now;
  }
}
