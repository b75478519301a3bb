import type { Logger } from "../log.js";
import { withDeadline } from "./deadline.js";
import { withFieldLimits } from "./field-limits.js";
import type { Wrapper } from "./handler.js";
import { KeyedLock } from "./keyed-lock.js";
import { withVolumeLock } from "./locking.js";
import { withLogging } from "./logging.js";

export interface ChainOptions {
  /** Longest wait for another operation on the same volume. */
  lockWaitMsMax: number;
  /** Longest time until a call is answered, whatever deadline the caller gave. */
  handlingMsMax: number;
  findVolumeName: (volumeId: string) => string | undefined;
}

export const defaultChainOptions = { lockWaitMsMax: 10_000, handlingMsMax: 10 * 60_000 };

/** Everything that holds for every RPC, outermost first. */
export function createChain(options: ChainOptions): Wrapper {
  const lock = new KeyedLock(options.lockWaitMsMax);
  const wrappers = [
    withLogging(),
    withFieldLimits(),
    withDeadline(options.handlingMsMax),
    withVolumeLock(lock, options.findVolumeName),
  ];
  return (handler) => wrappers.reduceRight((next, wrap) => wrap(next), handler);
}

/** What a call needs to be told apart from the others in the log. */
export interface CallIdentity {
  requestId: string;
  method: string;
  request: object;
}

/** The logger of one call. */
export function createCallLogger(logger: Logger, { requestId, method, request }: CallIdentity): Logger {
  const volumeId = "volumeId" in request && request.volumeId !== "" ? { volumeId: request.volumeId } : {};
  return logger.child({ requestId, method, ...volumeId });
}
