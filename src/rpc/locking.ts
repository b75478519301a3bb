import type { AnyHandler, Wrapper } from "./handler.js";
import type { KeyedLock } from "./keyed-lock.js";

/**
 * One operation per volume at a time. A creation is known by its name, all else by id; a deletion takes both, so that
 * it never overlaps a repeated creation of the same volume.
 */
export function withVolumeLock(lock: KeyedLock, findVolumeName: (volumeId: string) => string | undefined): Wrapper {
  return (next: AnyHandler) => async (request, context) => {
    const keys = lockKeys(request, context.method, findVolumeName);
    return keys.length === 0 ? await next(request, context) : await lock.run(keys, () => next(request, context));
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
  return !["Controller/ValidateVolumeCapabilities", "Node/NodeGetVolumeStats"].includes(method);
}
