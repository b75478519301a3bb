import type { DeviceEvent } from "../../ublk/index.js";
import type { BlockDeviceEvent } from "../block-devices.js";
import type { EngineLogger } from "../logger.js";
import type { ServedDevice } from "./device-maker.js";
import { EventHub } from "./event-hub.js";
import { IoErrorLog } from "./io-error-log.js";

/** The devices that this process serves, and what happens to them. */
export class ServedDevices {
  readonly events = new EventHub();
  private readonly devices = new Map<string, ServedDevice>();

  constructor(private readonly logger: EngineLogger) {}

  get(volumeId: string): ServedDevice | undefined {
    return this.devices.get(volumeId);
  }

  all(): ServedDevice[] {
    return [...this.devices.values()];
  }

  /** From now on the device is ours, and its events are told. */
  add(served: ServedDevice, how: "attached" | "recovered"): void {
    const { volumeId } = served.entry;
    const errors = new IoErrorLog(this.logger, toFields(served));
    this.devices.set(volumeId, served);
    served.device.onEvent((event) => this.tell(served, event, errors));
    this.events.emit({ kind: how, ...toFields(served), sizeBytes: served.entry.sizeBytes });
  }

  /** Somebody else serves it now, or nobody. */
  remove(served: ServedDevice): void {
    const { volumeId } = served.entry;
    if (this.devices.get(volumeId) === served) this.devices.delete(volumeId);
  }

  /** Frees what this process still has of a device that is no more. */
  async drop(served: ServedDevice): Promise<void> {
    this.remove(served);
    if (served.device.state === "stopped") return;
    await served.device.stop().catch((error: unknown) => {
      this.logger.warn({ ...toFields(served), err: error }, "the rest of a stopped device cannot be freed");
    });
  }

  private tell(served: ServedDevice, event: DeviceEvent, errors: IoErrorLog): void {
    if (event.kind === "io-error") errors.add(event);
    if (event.kind === "stopped") this.logger.warn(toFields(served), "somebody else stopped the device");
    if (event.kind === "thawed") this.logger.warn(toFields(served), "the device thawed at the deadline of its freeze");
    this.events.emit({ ...event, ...toFields(served) } as BlockDeviceEvent);
  }
}

function toFields({ entry, device }: ServedDevice): { volumeId: string; deviceId: number } {
  return { volumeId: entry.volumeId, deviceId: device.deviceId };
}
