import type { MethodDefinition, ServiceDefinition, UntypedHandleCall } from "@grpc/grpc-js";
import { toMessage } from "../errors.js";
import type { AnyHandler } from "./handler.js";
import { Code, RpcError, toStatus } from "./status.js";
import type { AnyStreamHandler } from "./stream-handler.js";

/** Stands in for a request whose bytes are no message. It has no field, so that whatever wraps a handler may look at it. */
export class Undecodable {
  readonly #reason: string;

  constructor(reason: string) {
    this.#reason = reason;
  }

  toError(method: string): RpcError {
    return new RpcError(Code.INVALID_ARGUMENT, `the bytes of the request are no message of ${method}: ${this.#reason}`);
  }
}

/**
 * A service that hands on what it cannot decode as {@link Undecodable}. The gRPC library by itself answers INTERNAL, as if
 * the driver had failed, where the caller has. Methods whose requests are streams stay as they are.
 */
export function withTolerantDecoding(definition: ServiceDefinition): ServiceDefinition {
  return Object.fromEntries(Object.entries(definition).map(([name, method]) => [name, toTolerant(method)]));
}

function toTolerant(method: MethodDefinition<unknown, unknown>): MethodDefinition<unknown, unknown> {
  if (method.requestStream) return method;
  const requestDeserialize = (bytes: Buffer): unknown => {
    try {
      return method.requestDeserialize(bytes);
    } catch (error) {
      return new Undecodable(toMessage(error));
    }
  };
  return { ...method, requestDeserialize };
}

/** A handler that refuses what could not be decoded. It is what gets wrapped, so that this call is logged and counted too. */
export function decoded(handler: AnyHandler): AnyHandler {
  return async (request, context) => {
    assertDecoded(request, context.method);
    return await handler(request, context);
  };
}

/** The same for one that answers by a stream. */
export function decodedStream(handler: AnyStreamHandler): AnyStreamHandler {
  return async function* (request, context) {
    assertDecoded(request, context.method);
    yield* handler(request, context);
  };
}

/** The same for a method that nothing wraps. */
export function decodedCall(method: string, handle: UntypedHandleCall): UntypedHandleCall {
  return (call: AnyCall, ...answer: unknown[]) => {
    const { request } = call;
    if (request instanceof Undecodable) return void call.emit("error", toStatus(request.toError(method)));
    return (handle as (...args: unknown[]) => void)(call, ...answer);
  };
}

/** `request` is undefined where requests are a stream. */
interface AnyCall {
  request?: unknown;
  emit: (event: "error", status: object) => boolean;
}

function assertDecoded(request: object, method: string): void {
  if (request instanceof Undecodable) throw request.toError(method);
}
