import { defaultOldServerTimeoutMs } from "./devices/adoption.js";

/** How long the engine waits for what others have to do. */
export interface EngineTimeouts {
  /** For a new block device node to show its size. */
  nodeMs: number;
  /** For a short open, such as udev's or mkfs's, to end. */
  claimMs: number;
  /** For an old server to let go of its devices. */
  oldServerMs: number;
  /** For the changes under way to end before a hand-over or the end. */
  changesMs: number;
  /** For a device to let go in a hand-over. Less than the new engine waits for an answer. */
  releaseMs: number;
}

export const defaultTimeouts: EngineTimeouts = {
  nodeMs: 10_000,
  claimMs: 2_000,
  oldServerMs: defaultOldServerTimeoutMs,
  changesMs: 20_000,
  releaseMs: 30_000,
};
