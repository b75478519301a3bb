/** Stable reasons of a {@link UblkError}; docs/library.md explains each. */
export type UblkErrorCode =
  | "addon_not_built"
  | "device_busy"
  | "device_exists"
  | "device_frozen"
  | "device_limit"
  | "device_missing"
  | "device_stopped"
  | "feature_missing"
  | "image_in_use"
  | "image_missing"
  | "image_unusable"
  | "invalid_option"
  | "io_uring_disabled"
  | "io_uring_missing"
  | "kernel_broken"
  | "kernel_refused"
  | "memory_limit"
  | "module_not_loaded"
  | "not_recoverable"
  | "owner_mismatch"
  | "permission_denied"
  | "size_misaligned"
  | "timeout"
  | "ublk_missing";

/** What accompanies a {@link UblkError} beside its code and message. */
export interface UblkErrorDetails {
  /** The call of this library that failed, for example `createAndServe`. */
  operation: string;
  /** The step inside it, for example `ADD_DEV`. */
  step?: string;
  /** Positive, as in errno(3). */
  errno?: number;
  /** For example `EACCES`. */
  errnoName?: string;
  /** What to do about it. */
  hint?: string;
  cause?: unknown;
}

/** Everything this library throws, programmer's mistakes included. The message ends with the hint. */
export class UblkError extends Error {
  override readonly name = "UblkError";
  readonly operation: string;
  readonly step: string | undefined;
  readonly errno: number | undefined;
  readonly errnoName: string | undefined;
  readonly hint: string | undefined;

  constructor(
    readonly code: UblkErrorCode,
    message: string,
    details: UblkErrorDetails,
  ) {
    super(details.hint ? `${message}: ${details.hint}` : message, { cause: details.cause });
    this.operation = details.operation;
    this.step = details.step;
    this.errno = details.errno;
    this.errnoName = details.errnoName;
    this.hint = details.hint;
  }
}
