import { assertFieldLimits } from "./field-limits.js";
import { type ObserveCall, withStreamObservation } from "./observation.js";
import { redactSecrets } from "./redact.js";
import { Code, codeName, toStatus } from "./status.js";
import type { AnyStreamHandler, StreamWrapper } from "./stream-handler.js";

/** What holds for every call that is answered by a stream. Such calls only read, and so take no lock. */
export function createStreamChain(observeCall?: ObserveCall): StreamWrapper {
  const observed =
    observeCall === undefined ? (handler: AnyStreamHandler) => handler : withStreamObservation(observeCall);
  return (handler) => observed(withStreamLogging(withStreamFieldLimits(handler)));
}

function withStreamFieldLimits(next: AnyStreamHandler): AnyStreamHandler {
  return async function* (request, context) {
    assertFieldLimits(request);
    yield* next(request, context);
  };
}

/** One line when a call starts and one when it ends, the latter with the number of messages. */
function withStreamLogging(next: AnyStreamHandler): AnyStreamHandler {
  return async function* (request, context) {
    const { logger } = context;
    const startedAt = performance.now();
    let messageCount = 0;
    // What stays when the caller ends the stream before the handler does.
    let status = { code: Code.CANCELLED, details: "the caller has read no further" };
    logger.info({ request: redactSecrets(request) }, "call started");
    try {
      for await (const message of next(request, context)) {
        messageCount++;
        yield message;
      }
      status = { code: Code.OK, details: "" };
    } catch (error) {
      status = toStatus(error);
      if (status.code === Code.INTERNAL) logger.error({ err: error }, "unexpected");
      throw error;
    } finally {
      const durationMs = Math.round((performance.now() - startedAt) * 100) / 100;
      const outcome = { code: codeName(status.code), durationMs, messageCount };
      if (status.code === Code.OK) logger.info(outcome, "call finished");
      else logger.warn({ ...outcome, reason: status.details }, "call failed");
    }
  };
}
