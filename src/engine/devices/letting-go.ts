import { within } from "../../system/within.js";
import type { UblkDevice } from "../../ublk/index.js";
import { BlockDeviceError } from "../block-devices.js";
import type { ServedDevice } from "./device-maker.js";

/** The devices that were told to let go in a hand-over and have not yet. */
export class LettingGo {
  private readonly pending = new Map<string, Promise<void>>();

  constructor(private readonly limitMs: number) {}

  /** Resolves when the device has let go. It may do so later too, when this has failed because it takes too long. */
  async letGo({ entry, device }: ServedDevice, onGone: () => void): Promise<void> {
    const { volumeId } = entry;
    const gone = quiesceOrRelease(device).then(onGone);
    const ended = gone.catch(() => undefined).finally(() => this.pending.delete(volumeId));
    this.pending.set(volumeId, ended);
    await within(this.limitMs, gone, () => {
      return new BlockDeviceError("unavailable", `${device.path} has not let go within ${this.limitMs} ms`);
    });
  }

  /** Does this for each of them once it has let go, or has failed to. */
  afterwards(action: (volumeId: string) => Promise<unknown>): void {
    for (const [volumeId, ended] of this.pending) void ended.then(() => action(volumeId));
  }
}

/** With the kernel holding new requests back first, where it can. */
async function quiesceOrRelease(device: UblkDevice): Promise<void> {
  if (device.features.includes("QUIESCE")) await device.quiesce();
  else await device.release();
}
