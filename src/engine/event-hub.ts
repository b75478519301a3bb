import type { BlockDeviceEvent, BlockDeviceListener } from "./block-devices.js";

/** Carries what happens to devices to whoever listens at the time. */
export class EventHub {
  private readonly listeners = new Set<BlockDeviceListener>();

  /** Returns the function that ends the subscription. */
  add(listener: BlockDeviceListener): () => void {
    // A subscription of its own, for the same function may listen twice.
    const own: BlockDeviceListener = (event) => listener(event);
    this.listeners.add(own);
    return () => void this.listeners.delete(own);
  }

  /** In a microtask each: what a listener throws is not the fault of what happened. */
  emit(event: BlockDeviceEvent): void {
    for (const listener of this.listeners) queueMicrotask(() => listener(event));
  }
}
