import { Metadata } from "@grpc/grpc-js";
import { createSilentLogger } from "../../log.js";
import type { CallContext } from "../handler.js";

/** The context of a call that nobody cancels, and that has no deadline. */
export function createContext(change: Partial<CallContext> = {}): CallContext {
  const logger = createSilentLogger();
  const deadlineMs = Number.POSITIVE_INFINITY;
  const call = { deadlineMs, metadata: new Metadata(), isCancelled: () => false };
  return { requestId: "1", method: "Node/NodeStageVolume", ...call, logger, ...change };
}
