import { KeyedMutex } from "../../system/keyed-mutex.js";
import { within } from "../../system/within.js";
import { BlockDeviceError } from "../block-devices.js";
import type { EngineLogger } from "../logger.js";

/** Lets one change of a volume happen at a time, until no more may: for a while, or because the engine ends. */
export class ChangeGate {
  private readonly mutex = new KeyedMutex();
  private closedBecause: string | undefined;
  private isEnding = false;

  constructor(
    private readonly logger: EngineLogger,
    /** How long the changes under way may take to end once no more may begin. */
    private readonly drainMs: number,
  ) {}

  /** Fails with `unavailable` while the gate is closed, also if it closed while this waited for its turn. */
  async run<T>(volumeId: string, change: () => Promise<T>): Promise<T> {
    this.assertOpen();
    return await this.mutex.run(volumeId, async () => {
      this.assertOpen();
      return await change();
    });
  }

  /** No change is under way when it resolves. When one does not end in time, its volume is named and the gate opens again. */
  async close(reason: string): Promise<void> {
    this.assertNotEnding();
    this.closedBecause = reason;
    await this.drain().catch((error: unknown) => {
      this.open();
      throw error;
    });
  }

  /** Closes for good. One device that is stuck keeps no other from being left in good order. */
  async end(): Promise<void> {
    this.isEnding = true;
    this.closedBecause = "the engine is shutting down";
    await this.drain().catch((err: unknown) => {
      this.logger.error({ err }, "a device is stuck, the others are left in good order");
    });
  }

  /** Does nothing once the engine ends. */
  open(): void {
    if (!this.isEnding) this.closedBecause = undefined;
  }

  assertNotEnding(): void {
    if (this.isEnding) this.assertOpen();
  }

  assertOpen(): void {
    if (this.closedBecause === undefined) return;
    throw new BlockDeviceError("unavailable", `${this.closedBecause}: try again later`);
  }

  private async drain(): Promise<void> {
    await within(this.drainMs, this.mutex.drain(), () => {
      const busy = this.mutex.keys().map((volumeId) => `volume ${volumeId}`);
      return new BlockDeviceError(
        "unavailable",
        `what is done with ${busy.join(", ")} has not ended in ${this.drainMs} ms`,
      );
    });
  }
}
