import type { Logger } from "../log.js";
import { withDeadline } from "./deadline.js";
import { withFieldLimits } from "./field-limits.js";
import type { Wrapper } from "./handler.js";
import type { KeyedLock } from "./keyed-lock.js";
import { type FindName, withVolumeLock } from "./locking.js";
import { withLogging } from "./logging.js";
import { type ObserveCall, withObservation } from "./observation.js";

export interface ChainOptions {
  lock: KeyedLock;
  /** Longest time until a call is answered, whatever deadline the caller gave. */
  handlingMsMax: number;
  findName: FindName;
  /** Told of each call that was answered. Default: nobody is. */
  observeCall?: ObserveCall | undefined;
}

export const defaultChainOptions = { handlingMsMax: 10 * 60_000 };
/** Longest wait for another operation on the same thing. */
export const lockWaitMsMax = 10_000;

/** Everything that holds for every RPC, outermost first. */
export function createChain(options: ChainOptions): Wrapper {
  const wrappers = [
    ...(options.observeCall === undefined ? [] : [withObservation(options.observeCall)]),
    withLogging(),
    withFieldLimits(),
    withDeadline(options.handlingMsMax),
    withVolumeLock(options.lock, options.findName),
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
