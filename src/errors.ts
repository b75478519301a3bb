/** What went wrong, in the driver's own words. Only `rpc/status.ts` knows which gRPC code each becomes. */
export type DriverErrorCode =
  | "invalid"
  | "missing"
  | "conflict"
  | "no_space"
  | "out_of_range"
  | "refused"
  | "busy"
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
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** Whether a system call failed with this errno name, for example `ENOENT`. */
export function hasErrno(thrown: unknown, ...errnos: string[]): boolean {
  return thrown instanceof Error && "code" in thrown && errnos.includes(String(thrown.code));
}
