import { status as Code } from "@grpc/grpc-js";
import { BlockDeviceError, type BlockDeviceErrorCode } from "../engine/block-devices.js";
import { DriverError, type DriverErrorCode, toMessage } from "../errors.js";

export { Code };

/** An error that belongs to the call itself rather than to a volume. */
export class RpcError extends Error {
  override readonly name = "RpcError";

  constructor(
    readonly code: Code,
    message: string,
  ) {
    super(message);
  }
}

/** What the caller of an RPC is told. CSI wants no details, and people want no stack traces. */
export interface RpcStatus {
  code: Code;
  details: string;
}

/** The one place where errors become gRPC codes. */
export function toStatus(thrown: unknown): RpcStatus {
  return { code: toCode(thrown), details: toMessage(thrown) };
}

/** The name of a code, for example `NOT_FOUND`. */
export function codeName(code: Code): string {
  return Code[code];
}

function toCode(thrown: unknown): Code {
  if (thrown instanceof RpcError) return thrown.code;
  if (thrown instanceof DriverError) return driverCodes[thrown.code];
  if (thrown instanceof BlockDeviceError) return blockDeviceCodes[thrown.code];
  return Code.INTERNAL;
}

const driverCodes: Record<DriverErrorCode, Code> = {
  invalid: Code.INVALID_ARGUMENT,
  missing: Code.NOT_FOUND,
  conflict: Code.ALREADY_EXISTS,
  no_space: Code.RESOURCE_EXHAUSTED,
  out_of_range: Code.OUT_OF_RANGE,
  refused: Code.FAILED_PRECONDITION,
  busy: Code.ABORTED,
  unavailable: Code.UNAVAILABLE,
  internal: Code.INTERNAL,
};

const blockDeviceCodes: Record<BlockDeviceErrorCode, Code> = {
  in_use: Code.FAILED_PRECONDITION,
  spec_mismatch: Code.ALREADY_EXISTS,
  image_missing: Code.INTERNAL,
  not_found: Code.NOT_FOUND,
  invalid: Code.INVALID_ARGUMENT,
  unsupported: Code.UNIMPLEMENTED,
  frozen: Code.ABORTED,
  unavailable: Code.UNAVAILABLE,
  internal: Code.INTERNAL,
};
