import type { handleUnaryCall, ServiceDefinition, UntypedServiceImplementation } from "@grpc/grpc-js";
import { Metadata } from "@grpc/grpc-js";
import type { Logger } from "../log.js";
import { createCallLogger } from "./chain.js";
import type { AnyHandler, Handlers, Wrapper } from "./handler.js";
import { Code, RpcError, toStatus } from "./status.js";

/** Puts the chain around every method of a service; methods without a handler answer UNIMPLEMENTED. */
export function implementService<Server>(
  definition: ServiceDefinition,
  handlers: Handlers<Server>,
  options: { wrap: Wrapper; logger: Logger },
): UntypedServiceImplementation {
  const methods = Object.entries(definition).map(([name, { path, responseStream }]) => {
    if (responseStream) throw new Error(`bug: ${path} streams, which this chain cannot serve`);
    const method = path.replace(/^\/csi\.v1\./, "");
    const handler = (handlers as Record<string, AnyHandler | undefined>)[name] ?? createUnimplemented(method);
    return [name, toGrpcHandler(method, options.wrap(handler), options.logger)] as const;
  });
  return Object.fromEntries(methods);
}

let callCount = 0;

function toGrpcHandler(method: string, handler: AnyHandler, logger: Logger): handleUnaryCall<object, object> {
  return (call, callback) => {
    const { request, metadata } = call;
    const requestId = (++callCount).toString(36);
    const callLogger = createCallLogger(logger, { requestId, method, request });
    const context = { requestId, method, deadlineMs: toDeadlineMs(call.getDeadline()), metadata, logger: callLogger };
    handler(request, context).then(
      (response) => callback(null, response),
      (error: unknown) => callback({ ...toStatus(error), metadata: new Metadata() }),
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
