import type {
  handleServerStreamingCall,
  handleUnaryCall,
  ServerUnaryCall,
  ServerWritableStream,
  ServiceDefinition,
  UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { Metadata } from "@grpc/grpc-js";
import type { Logger } from "../log.js";
import { createCallLogger } from "./chain.js";
import { decoded, decodedCall, decodedStream } from "./decoding.js";
import type { AnyHandler, CallContext, Handlers, Wrapper } from "./handler.js";
import { Code, RpcError, toStatus } from "./status.js";
import { toGrpcStreamHandler } from "./stream.js";
import type { AnyStreamHandler, StreamWrapper } from "./stream-handler.js";

export interface ServiceOptions {
  wrap: Wrapper;
  logger: Logger;
  /** What accompanies the status of a failed call. Default: nothing. */
  toTrailer?: (thrown: unknown) => Metadata;
  /** The chain of the methods that answer by a stream. */
  wrapStream?: StreamWrapper;
  /** Methods with streams that go round the chains. */
  streams?: UntypedServiceImplementation;
}

/** How long the reader of a stream may leave its messages unread. */
const stalledMsMax = 10 * 60_000;

/** Puts the chain around every method of a service; methods without a handler answer UNIMPLEMENTED. */
export function implementService<Server>(
  definition: ServiceDefinition,
  handlers: Handlers<Server>,
  options: ServiceOptions,
): UntypedServiceImplementation {
  const methods = Object.entries(definition).map(([name, { path, responseStream }]) => {
    const method = toMethodName(path);
    const stream = options.streams?.[name];
    if (stream !== undefined) return [name, decodedCall(method, stream)] as const;
    const handler = (handlers as Record<string, unknown>)[name];
    return [name, responseStream ? serveStream(method, handler, options) : serve(method, handler, options)] as const;
  });
  return Object.fromEntries(methods);
}

function serve(method: string, handler: unknown, options: ServiceOptions): handleUnaryCall<object, object> {
  return toGrpcHandler(
    method,
    options.wrap(decoded((handler as AnyHandler | undefined) ?? createUnimplemented(method))),
    options,
  );
}

function serveStream(
  method: string,
  handler: unknown,
  { wrapStream, logger, toTrailer = () => new Metadata() }: ServiceOptions,
): handleServerStreamingCall<object, object> {
  if (wrapStream === undefined || handler === undefined) throw new Error(`bug: nothing serves the stream of ${method}`);
  const createContext = (call: Call) => toContext(method, call, logger);
  return toGrpcStreamHandler(wrapStream(decodedStream(handler as AnyStreamHandler)), {
    stalledMsMax,
    createContext,
    toTrailer,
  });
}

/** `Node/NodeStageVolume` for `/csi.v1.Node/NodeStageVolume`. */
export function toMethodName(path: string): string {
  return path.slice(path.lastIndexOf(".") + 1);
}

type Call = ServerUnaryCall<object, object> | ServerWritableStream<object, object>;

let callCount = 0;

function toContext(method: string, call: Call, logger: Logger): CallContext {
  const { request, metadata } = call;
  const requestId = (++callCount).toString(36);
  const deadlineMs = toDeadlineMs(call.getDeadline());
  const isCancelled = () => call.cancelled;
  const callLogger = createCallLogger(logger, { requestId, method, request });
  return { requestId, method, deadlineMs, metadata, isCancelled, logger: callLogger };
}

function toGrpcHandler(
  method: string,
  handler: AnyHandler,
  { logger, toTrailer = () => new Metadata() }: ServiceOptions,
): handleUnaryCall<object, object> {
  return (call, callback) => {
    const { request } = call;
    handler(request, toContext(method, call, logger)).then(
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
