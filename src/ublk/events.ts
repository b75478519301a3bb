import type { NativeEvent } from "./addon.js";
import { toErrnoName } from "./errno.js";

/** What a device tells of itself while it is open. */
export type DeviceEvent =
  /** The target answered a request with an error, which its user has seen too. */
  | {
      kind: "io-error";
      operation: "read" | "write" | "flush" | "discard" | "write-zeroes" | "other";
      errnoName: string;
      offsetBytes: bigint;
      lengthBytes: number;
    }
  /** Somebody else stopped or deleted the device: it serves nothing any more, and `stop` frees what is left of it. */
  | { kind: "stopped" }
  /** The deadline of a freeze passed before `thaw`: requests go on. */
  | { kind: "thawed" };

export type DeviceListener = (event: DeviceEvent) => void;

const operations = new Map([
  [0, "read"],
  [1, "write"],
  [2, "flush"],
  [3, "discard"],
  [5, "write-zeroes"],
] as const);

/** Carries native events to listeners. It exists before the device does, for events may come during bring-up. */
export class EventRelay {
  private readonly listeners = new Set<DeviceListener>();

  /** Returns the function that ends the subscription. */
  add(listener: DeviceListener): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  /** Hands the event on in a microtask: what a listener throws must not surface inside the native callback. */
  readonly receive = (native: NativeEvent): void => {
    const event = toDeviceEvent(native);
    for (const listener of this.listeners) queueMicrotask(() => listener(event));
  };
}

function toDeviceEvent(native: NativeEvent): DeviceEvent {
  if (native.kind !== "io-error") return native;
  const { operation, errno, offsetBytes, lengthBytes } = native;
  return {
    kind: "io-error",
    operation: operations.get(operation as 0) ?? "other",
    errnoName: toErrnoName(errno),
    offsetBytes,
    lengthBytes,
  };
}
