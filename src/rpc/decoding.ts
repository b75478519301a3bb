import type { MethodDefinition, ServiceDefinition } from "@grpc/grpc-js";
import { toMessage } from "../errors.js";
import { Code, RpcError } from "./status.js";

/** Stands in for a request whose bytes are no message. */
export class Undecodable {
  constructor(private readonly reason: string) {}

  toError(method: string): RpcError {
    return new RpcError(Code.INVALID_ARGUMENT, `the bytes of the request are no message of ${method}: ${this.reason}`);
  }
}

/**
 * A service that hands on what it cannot decode as {@link Undecodable}. The gRPC library by itself answers INTERNAL, as if
 * the driver had failed, where the caller has. Methods with streams stay as they are.
 */
export function withTolerantDecoding(definition: ServiceDefinition): ServiceDefinition {
  return Object.fromEntries(Object.entries(definition).map(([name, method]) => [name, toTolerant(method)]));
}

function toTolerant(method: MethodDefinition<unknown, unknown>): MethodDefinition<unknown, unknown> {
  if (method.requestStream || method.responseStream) return method;
  const requestDeserialize = (bytes: Buffer): unknown => {
    try {
      return method.requestDeserialize(bytes);
    } catch (error) {
      return new Undecodable(toMessage(error));
    }
  };
  return { ...method, requestDeserialize };
}
