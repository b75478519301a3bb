import { findErrno, toErrnoName } from "../errno.js";
import { UblkError, type UblkErrorCode } from "../errors.js";
import { explain } from "./causes.js";
import { type DeviceHolders, diagnoseLock, diagnoseTimeout } from "./diagnosis.js";
import { type EnvironmentReader, probeEnvironment } from "./environment.js";

/** What the failing call was about, for the message. */
export interface FailureContext {
  /** For example `createAndServe`. */
  operation: string;
  /** For example `/dev/ublkb3` or `a device over /srv/a.img`. */
  subject: string;
  imagePath?: string | undefined;
  deviceId?: number | undefined;
  /** Who holds a device that does not go; tests give their own. */
  holders?: DeviceHolders | undefined;
}

/**
 * The one place that turns a native rejection into a `UblkError`: it keeps step and errno, and looks at the machine to
 * say which setting, module or right is missing. A `UblkError` passes unchanged.
 */
export async function toUblkError(
  cause: unknown,
  context: FailureContext,
  reader: EnvironmentReader,
): Promise<UblkError> {
  if (cause instanceof UblkError) return cause;
  const { errno, step, message } = readFailure(cause);
  const errnoName = errno === undefined ? "" : toErrnoName(errno);
  const environment = await probeEnvironment(reader);
  const { code, reason, hint } = explain({ ...context, step, errnoName, environment }, message);
  const facts = await findFacts(code, cause, context);
  return new UblkError(code, `cannot ${describe(context)}: ${reason}${facts}${origin(step, errnoName)}`, {
    operation: context.operation,
    hint,
    cause,
    ...(step && { step }),
    ...(errno !== undefined && { errno, errnoName }),
  });
}

async function findFacts(code: UblkErrorCode, cause: unknown, context: FailureContext): Promise<string> {
  const { deviceId, imagePath, holders } = context;
  if (code === "timeout") return await diagnoseTimeout(cause, deviceId, holders);
  return code === "image_in_use" ? await diagnoseLock(imagePath, holders) : "";
}

function readFailure(cause: unknown): { errno: number | undefined; step: string; message: string } {
  const { step, message = String(cause) } = (cause ?? {}) as { step?: unknown; message?: string };
  return { errno: findErrno(cause), step: typeof step === "string" ? step : "", message };
}

const verbs: Record<string, string> = {
  createAndServe: "create",
  recoverAndServe: "recover",
  stopAndDelete: "stop and delete",
  removeDevice: "remove",
  listDevices: "read",
  reportFeatures: "read the features",
  checkKernel: "read the features",
  setLimits: "set the limits of",
};

function describe(context: FailureContext): string {
  return `${verbs[context.operation] ?? context.operation} ${context.subject}`;
}

function origin(step: string, errnoName: string): string {
  const parts = [step, errnoName].filter((part) => part !== "");
  return parts.length === 0 ? "" : ` (${parts.join(", ")})`;
}
