import type { handleServerStreamingCall, handleUnaryCall, Metadata } from "@grpc/grpc-js";
import type { Logger } from "../log.js";
import type { StreamHandler } from "./stream-handler.js";

/** What is known of a call besides its request. */
export interface CallContext {
  /** Unique within the process; in every log line of the call. */
  requestId: string;
  /** Service and method, for example `Node/NodeStageVolume`. */
  method: string;
  /** When the caller stops waiting, in milliseconds since the epoch; Infinity when it never does. */
  deadlineMs: number;
  metadata: Metadata;
  /** Whether the caller has gone away meanwhile. */
  isCancelled: () => boolean;
  logger: Logger;
}

/** Answers one RPC, or throws; `status.ts` turns what it throws into a code. */
export type Handler<Request, Response> = (request: Request, context: CallContext) => Promise<Response>;

/** Any handler: what a wrapper sees that works for all of them. */
export type AnyHandler = Handler<object, object>;

/** Adds one rule to a handler. */
export type Wrapper = (next: AnyHandler) => AnyHandler;

/** The handlers for a service of the generated code; those left out answer UNIMPLEMENTED. */
export type Handlers<Server> = {
  [Method in keyof Server as string extends Method ? never : Method]?: Server[Method] extends handleUnaryCall<
    infer Request,
    infer Response
  >
    ? Handler<Request, Response>
    : Server[Method] extends handleServerStreamingCall<infer Request, infer Response>
      ? StreamHandler<Request, Response>
      : never;
};
