import type { Wrapper } from "./handler.js";
import { redactSecrets } from "./redact.js";
import { Code, codeName, toStatus } from "./status.js";

/** Asked every few seconds or for every volume: their lines are for debugging only. */
const polledMethods =
  /\/(Probe|GetPluginInfo|GetCapacity|\w*GetCapabilities|GetPluginCapabilities|NodeGetVolumeStats|Get|List|\w*Health)$/;

/** Writes one line when a call starts and one when it ends, the latter with its duration and code. */
export function withLogging(): Wrapper {
  return (next) =>
    async (request, { logger, ...context }) => {
      const level = polledMethods.test(context.method) ? "debug" : "info";
      const startedAt = performance.now();
      const durationMs = () => Math.round((performance.now() - startedAt) * 100) / 100;
      logger[level]({ request: redactSecrets(request) }, "call started");
      try {
        const response = await next(request, { logger, ...context });
        logger[level]({ code: codeName(Code.OK), durationMs: durationMs() }, "call finished");
        return response;
      } catch (error) {
        const { code, details } = toStatus(error);
        const unexpected = code === Code.INTERNAL ? { err: error } : {};
        logger.warn({ code: codeName(code), durationMs: durationMs(), reason: details, ...unexpected }, "call failed");
        throw error;
      }
    };
}
