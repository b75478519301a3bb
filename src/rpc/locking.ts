import type { AnyHandler, Wrapper } from "./handler.js";
import type { KeyedLock } from "./keyed-lock.js";
import { RunningCalls } from "./running-calls.js";

/**
 * One operation per volume at a time. A creation is known by its name, all else by id; a deletion takes both, so that
 * it never overlaps a repeated creation of the same volume. A call that equals one which waits or runs joins it: nothing
 * else can have happened to the volume since that one began.
 */
export function withVolumeLock(lock: KeyedLock, findVolumeName: (volumeId: string) => string | undefined): Wrapper {
  const calls = new RunningCalls();
  return (next: AnyHandler) => async (request, context) => {
    const { method, logger } = context;
    const keys = lockKeys(request, method, findVolumeName);
    if (keys.length === 0) return await next(request, context);
    if (calls.has(method, request)) logger.info("joins an equal call that is not done yet");
    return await calls.run(method, request, () => lock.run(keys, () => next(request, context)));
  };
}

function lockKeys(request: object, method: string, findVolumeName: (volumeId: string) => string | undefined): string[] {
  const keys: string[] = [];
  if ("volumeId" in request && typeof request.volumeId === "string" && changesVolume(method)) {
    keys.push(`volume ${request.volumeId}`);
    const name = method === "Controller/DeleteVolume" ? findVolumeName(request.volumeId) : undefined;
    if (name !== undefined) keys.push(`name ${name}`);
  }
  if (method === "Controller/CreateVolume" && "name" in request) keys.push(`name ${request.name}`);
  return keys;
}

/** Questions do not wait behind a long mkfs. */
function changesVolume(method: string): boolean {
  return method !== "Controller/ValidateVolumeCapabilities" && !/\/(Controller|Node)Get/.test(method);
}
