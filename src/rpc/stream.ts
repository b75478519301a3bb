import type { handleServerStreamingCall, Metadata, ServerWritableStream } from "@grpc/grpc-js";
import { Code, RpcError, toStatus } from "./status.js";
import type { AnyStreamHandler, StreamContext } from "./stream-handler.js";

type Call = ServerWritableStream<object, object>;

export interface StreamServing {
  /** How long a caller may leave its messages unread. */
  stalledMsMax: number;
  createContext: (call: Call) => Omit<StreamContext, "signal">;
  toTrailer: (thrown: unknown) => Metadata;
}

/** Sends what a handler answers no faster than the caller reads it, and ends the handler when the caller is gone. */
export function toGrpcStreamHandler(
  handler: AnyStreamHandler,
  { stalledMsMax, createContext, toTrailer }: StreamServing,
): handleServerStreamingCall<object, object> {
  return (call) => {
    const stop = new AbortController();
    const abort = () =>
      stop.abort(new RpcError(Code.CANCELLED, "the caller has gone away, or its deadline has passed"));
    for (const event of ["cancelled", "close", "error"]) call.once(event, abort);
    if (call.cancelled) abort();
    const { signal } = stop;
    sendAll(call, handler(call.request, { ...createContext(call), signal }), { signal, stalledMsMax }).then(
      () => call.end(),
      (error: unknown) => {
        if (!signal.aborted) call.emit("error", { ...toStatus(error), metadata: toTrailer(error) });
      },
    );
  };
}

interface Sending {
  signal: AbortSignal;
  stalledMsMax: number;
}

/** What fails in here ends the handler too. */
async function sendAll(call: Call, messages: AsyncIterable<object>, sending: Sending): Promise<void> {
  for await (const message of messages) {
    sending.signal.throwIfAborted();
    if (!call.write(message)) await waitForRoom(call, sending);
  }
  sending.signal.throwIfAborted();
}

async function waitForRoom(call: Call, { signal, stalledMsMax }: Sending): Promise<void> {
  let wake: (outcome: "room" | "stalled") => void = () => undefined;
  const woken = new Promise<"room" | "stalled">((resolve) => {
    wake = resolve;
  });
  const onRoom = () => wake("room");
  const timer = setTimeout(() => wake("stalled"), stalledMsMax);
  call.once("drain", onRoom);
  signal.addEventListener("abort", onRoom, { once: true });
  const outcome = await woken;
  clearTimeout(timer);
  call.off("drain", onRoom);
  signal.removeEventListener("abort", onRoom);
  signal.throwIfAborted();
  if (outcome === "room") return;
  throw new RpcError(
    Code.DEADLINE_EXCEEDED,
    `nothing was read for ${stalledMsMax} ms: call again and go on from there`,
  );
}
