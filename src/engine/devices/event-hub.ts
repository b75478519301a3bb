import type { BlockDeviceEvent, BlockDeviceListener } from "../block-devices.js";

type IoError = Extract<BlockDeviceEvent, { kind: "io-error" }>;

/**
 * Carries what happens to devices to whoever listens. One who comes later is told what requests of a device have failed with:
 * the last one of each errno, until the device is detached.
 */
export class EventHub {
  private readonly listeners = new Set<BlockDeviceListener>();
  private readonly lastErrors = new Map<string, Map<string, IoError>>();

  constructor(private readonly now: () => number = Date.now) {}

  /** Returns the function that ends the subscription. */
  add(listener: BlockDeviceListener): () => void {
    // A subscription of its own, for the same function may listen twice.
    const own: BlockDeviceListener = (event) => listener(event);
    this.listeners.add(own);
    for (const ofDevice of this.lastErrors.values()) for (const event of ofDevice.values()) this.tell(own, event);
    return () => void this.listeners.delete(own);
  }

  emit(event: BlockDeviceEvent): void {
    const told = event.kind === "io-error" ? this.remember(event) : event;
    if (event.kind === "detached") this.lastErrors.delete(event.volumeId);
    for (const listener of this.listeners) this.tell(listener, told);
  }

  private remember(event: IoError): IoError {
    const timed = { atMs: this.now(), ...event };
    const ofDevice = this.lastErrors.get(event.volumeId) ?? new Map<string, IoError>();
    this.lastErrors.set(event.volumeId, ofDevice.set(event.errnoName, timed));
    return timed;
  }

  /** In a microtask each: what a listener throws is not the fault of what happened. */
  private tell(listener: BlockDeviceListener, event: BlockDeviceEvent): void {
    queueMicrotask(() => listener(event));
  }
}
