import type { Wrapper } from "./handler.js";
import { Code, codeName, toStatus } from "./status.js";
import type { StreamWrapper } from "./stream-handler.js";

/** How a call has ended. */
export interface ObservedCall {
  /** Service and method, for example `Node/NodeStageVolume`. */
  method: string;
  /** Name of the gRPC code. */
  code: string;
  durationMs: number;
}

export type ObserveCall = (call: ObservedCall) => void;

/** Tells of each call when it has been answered. */
export function withObservation(observe: ObserveCall): Wrapper {
  return (next) => async (request, context) => {
    const startedAt = performance.now();
    const end = (code: Code) =>
      observe({ method: context.method, code: codeName(code), durationMs: performance.now() - startedAt });
    try {
      const response = await next(request, context);
      end(Code.OK);
      return response;
    } catch (error) {
      end(toStatus(error).code);
      throw error;
    }
  };
}

/** The same of calls that are answered by a stream; one that its caller leaves early is CANCELLED. */
export function withStreamObservation(observe: ObserveCall): StreamWrapper {
  return (next) =>
    async function* (request, context) {
      const startedAt = performance.now();
      let code = Code.CANCELLED;
      try {
        yield* next(request, context);
        code = Code.OK;
      } catch (error) {
        code = toStatus(error).code;
        throw error;
      } finally {
        observe({ method: context.method, code: codeName(code), durationMs: performance.now() - startedAt });
      }
    };
}
