/** What went wrong, in the driver's own words. Only `rpc/status.ts` knows which gRPC code each becomes. */
export type DriverErrorCode =
  | "invalid"
  | "missing"
  | "conflict"
  | "no_space"
  | "out_of_range"
  | "refused"
  | "busy"
  | "unavailable"
  | "internal";

/** An operation that the driver declines or cannot finish. The message is meant for the person who reads the event. */
export class DriverError extends Error {
  override readonly name = "DriverError";

  constructor(
    readonly code: DriverErrorCode,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}

/** The text of whatever was thrown. */
export function toMessage(thrown: unknown): string {
  return isErrorLike(thrown) ? thrown.message : String(thrown);
}

/** Whether a system call failed with one of these errno names, for example `ENOENT`. */
export function hasErrno(thrown: unknown, ...errnos: string[]): boolean {
  return isErrorLike(thrown) && "code" in thrown && errnos.includes(String(thrown.code));
}

/** By shape and not by class: errors from another realm, such as Node's own under a test runner, are errors too. */
export function isErrorLike(thrown: unknown): thrown is { message: string } {
  return typeof thrown === "object" && thrown !== null && "message" in thrown && typeof thrown.message === "string";
}
