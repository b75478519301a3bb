import type { AnyHandler, Wrapper } from "./handler.js";
import type { KeyedLock } from "./keyed-lock.js";
import { RunningCalls } from "./running-calls.js";

/** The name that something was made with, so that its removal and its creation exclude each other. */
export type FindName = (kind: "volume" | "snapshot" | "group", id: string) => string | undefined;

/**
 * One operation at a time for each volume, snapshot and group. A creation is known by its name, all else by id; a removal
 * takes both, so that it never overlaps a repeated creation of the same thing. A snapshot also holds its volumes: nobody
 * may attach one between the look whether it has a device and the instant. A call that equals one which waits or runs joins
 * it, unless another one for its subject has come in between.
 */
export function withVolumeLock(lock: KeyedLock, findName: FindName): Wrapper {
  const calls = new RunningCalls();
  return (next: AnyHandler) => async (request, context) => {
    const { method, logger } = context;
    const lockKeys = toLockKeys(request, method, findName);
    if (lockKeys.length === 0) return await next(request, context);
    const call = { method, request, lockKeys };
    const answer = calls.find(call);
    if (answer === undefined) return await calls.run(call, () => lock.run(lockKeys, () => next(request, context)));
    logger.info("joins an equal call that is not done yet");
    return await answer;
  };
}

/** The fields of requests that tell what they are about. */
interface Subject {
  name?: string;
  volumeId?: string;
  sourceVolumeId?: string;
  sourceVolumeIds?: string[];
  snapshotId?: string;
  groupSnapshotId?: string;
}

type ToKeys = (subject: Subject, findName: FindName) => Array<string | undefined>;

const keysByMethod: Record<string, ToKeys> = {
  "Controller/CreateVolume": ({ name }) => [toKey("name", name)],
  "Controller/DeleteVolume": ({ volumeId = "" }, find) => [
    toKey("volume", volumeId),
    toKey("name", find("volume", volumeId)),
  ],
  "Controller/ValidateVolumeCapabilities": () => [],
  "Controller/CreateSnapshot": ({ name, sourceVolumeId }) => [
    toKey("snapshot name", name),
    toKey("volume", sourceVolumeId),
  ],
  "Controller/DeleteSnapshot": ({ snapshotId = "" }, find) => [
    toKey("snapshot", snapshotId),
    toKey("snapshot name", find("snapshot", snapshotId)),
  ],
  "GroupController/CreateVolumeGroupSnapshot": ({ name, sourceVolumeIds = [] }) => [
    toKey("group name", name),
    ...sourceVolumeIds.map((volumeId) => toKey("volume", volumeId)),
  ],
  "GroupController/DeleteVolumeGroupSnapshot": ({ groupSnapshotId = "" }, find) => [
    toKey("group", groupSnapshotId),
    toKey("group name", find("group", groupSnapshotId)),
  ],
};

function toLockKeys(request: object, method: string, findName: FindName): string[] {
  const keys = (keysByMethod[method] ?? keysOfOther(method))(request, findName);
  return keys.filter((key) => key !== undefined);
}

// Questions do not wait behind a long mkfs.
function keysOfOther(method: string): ToKeys {
  if (/\/(Controller|Node)Get/.test(method)) return () => [];
  return ({ volumeId }) => [toKey("volume", volumeId)];
}

function toKey(kind: string, value: string | undefined): string | undefined {
  return value === undefined ? undefined : `${kind} ${value}`;
}
