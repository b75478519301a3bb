import type { handleUnaryCall, ServiceDefinition, UntypedServiceImplementation } from "@grpc/grpc-js";
import { Metadata } from "@grpc/grpc-js";
import type { Logger } from "../log.js";
import { createCallLogger } from "./chain.js";
import { Undecodable } from "./decoding.js";
import type { AnyHandler, Handlers, Wrapper } from "./handler.js";
import { Code, RpcError, toStatus } from "./status.js";

export interface ServiceOptions {
  wrap: Wrapper;
  logger: Logger;
  /** What accompanies the status of a failed call. Default: nothing. */
  toTrailer?: (thrown: unknown) => Metadata;
  /** The methods with streams, which go round the chain. */
  streams?: UntypedServiceImplementation;
}

/** Puts the chain around every method of a service; methods without a handler answer UNIMPLEMENTED. */
export function implementService<Server>(
  definition: ServiceDefinition,
  handlers: Handlers<Server>,
  options: ServiceOptions,
): UntypedServiceImplementation {
  const methods = Object.entries(definition).map(([name, { path, responseStream }]) => {
    const stream = options.streams?.[name];
    if (stream !== undefined) return [name, stream] as const;
    if (responseStream) throw new Error(`bug: ${path} streams, which this chain cannot serve`);
    const method = toMethodName(path);
    const handler = (handlers as Record<string, AnyHandler | undefined>)[name] ?? createUnimplemented(method);
    return [name, toGrpcHandler(method, options.wrap(handler), options)] as const;
  });
  return Object.fromEntries(methods);
}

/** `Node/NodeStageVolume` for `/csi.v1.Node/NodeStageVolume`. */
export function toMethodName(path: string): string {
  return path.slice(path.lastIndexOf(".") + 1);
}

let callCount = 0;

function toGrpcHandler(
  method: string,
  handler: AnyHandler,
  { logger, toTrailer = () => new Metadata() }: ServiceOptions,
): handleUnaryCall<object, object> {
  return (call, callback) => {
    const { request, metadata } = call;
    if (request instanceof Undecodable) return callback(toStatus(request.toError(method)));
    const requestId = (++callCount).toString(36);
    const callLogger = createCallLogger(logger, { requestId, method, request });
    const deadlineMs = toDeadlineMs(call.getDeadline());
    const isCancelled = () => call.cancelled;
    const context = { requestId, method, deadlineMs, metadata, isCancelled, logger: callLogger };
    handler(request, context).then(
      (response) => callback(null, response),
      (error: unknown) => callback({ ...toStatus(error), metadata: toTrailer(error) }),
    );
  };
}

function createUnimplemented(method: string): AnyHandler {
  return async () => {
    throw new RpcError(Code.UNIMPLEMENTED, `this driver does not offer ${method}, and its capabilities say so`);
  };
}

const toDeadlineMs = (deadline: Date | number): number =>
  typeof deadline === "number" ? deadline : deadline.getTime();
