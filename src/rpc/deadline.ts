import type { CallContext, Wrapper } from "./handler.js";
import { Code, RpcError } from "./status.js";

/**
 * Answers in time even when the work is not done. The work itself goes on, still holding its lock: a caller that asks
 * again finds it running or finished, as CSI expects, and never half-done.
 */
export function withDeadline(handlingMsMax: number): Wrapper {
  return (next) => async (request, context) => {
    const remainingMs = context.deadlineMs - Date.now();
    if (remainingMs <= 0) throw new RpcError(Code.DEADLINE_EXCEEDED, "the call's deadline had passed when it arrived");
    const limitMs = Math.min(remainingMs, handlingMsMax);
    const work = next(request, context);
    let timer: NodeJS.Timeout | undefined;
    const expiry = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => {
        logOutcome(work, context);
        reject(new RpcError(Code.DEADLINE_EXCEEDED, `not done after ${limitMs} ms, the work goes on: ask again`));
      }, limitMs);
    });
    return await Promise.race([work, expiry]).finally(() => clearTimeout(timer));
  };
}

function logOutcome(work: Promise<object>, { logger }: CallContext): void {
  work.then(
    () => logger.info("finished after its deadline"),
    (err: unknown) => logger.warn({ err }, "failed after its deadline"),
  );
}
