import type { Target } from "../../ublk/index.js";
import type { BlockDeviceImage } from "../block-devices.js";

/**
 * The geometry of a volume's device where its spec leaves it open. One queue is one thread, which serves more requests
 * than most disks do, and a node has hundreds of volumes: an idle one costs that thread and less than 1 MiB.
 */
export const defaultGeometry = { queueCount: 1, queueDepth: 64, maxIoBytes: 128 * 1024 };

/** The engine's name for the place of a volume's bytes. */
export function toTarget({ kind, path }: BlockDeviceImage): Target {
  return { kind, path };
}
