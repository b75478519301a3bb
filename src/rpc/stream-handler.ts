import type { CallContext } from "./handler.js";

/** What is known of a call that is answered by a stream. */
export interface StreamContext extends CallContext {
  /** Aborted when the caller is gone or its deadline has passed. Work that heeds it ends with its reason. */
  signal: AbortSignal;
}

/** Answers with many messages, or throws. The next one is asked for when the caller has room for it. */
export type StreamHandler<Request, Response> = (request: Request, context: StreamContext) => AsyncIterable<Response>;

export type AnyStreamHandler = StreamHandler<object, object>;

/** Adds one rule to a handler. */
export type StreamWrapper = (next: AnyStreamHandler) => AnyStreamHandler;
