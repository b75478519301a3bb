import { Metadata, type ServiceError } from "@grpc/grpc-js";
import { BlockDeviceError, type BlockDeviceErrorCode, blockDeviceErrorCodes } from "../engine/block-devices.js";

/** The trailer that carries the code of a `BlockDeviceError`, for several codes share a gRPC status. */
const codeTrailer = "ublk-engine-error";
/** The trailer of an engine that is about to end: its successor will answer the same call. */
const retryTrailer = "ublk-engine-retry";

/** What accompanies the status of a failed call. */
export function toErrorTrailer(thrown: unknown, isEnding: boolean): Metadata {
  const trailer = new Metadata();
  const code: BlockDeviceErrorCode = thrown instanceof BlockDeviceError ? thrown.code : "internal";
  trailer.set(codeTrailer, code);
  if (isEnding && code === "unavailable") trailer.set(retryTrailer, "1");
  return trailer;
}

/** What the engine threw, or undefined when the answer is none of an engine's, such as that of a broken connection. */
export function fromErrorTrailer(error: ServiceError): BlockDeviceError | undefined {
  const [sent] = error.metadata?.get(codeTrailer) ?? [];
  const code = blockDeviceErrorCodes.find((known) => known === sent);
  return code && new BlockDeviceError(code, error.details);
}

/** Whether the same call to the same socket will be answered by another engine soon. */
export function isWorthRetrying(error: ServiceError): boolean {
  return error.metadata?.get(retryTrailer)[0] === "1";
}
