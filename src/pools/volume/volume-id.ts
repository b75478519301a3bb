import { randomUUID } from "node:crypto";

const givenPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const pattern = /^[a-z0-9-]{1,128}$/;

/** Whether an id has the form of ours. Any other cannot name a volume of this driver, and must never meet a path. */
export function isVolumeId(id: string): boolean {
  return pattern.test(id);
}

/** Whether some node's driver may have given this id to a volume, a snapshot or a group; see `createVolumeId`. */
export function isGivenId(id: string): boolean {
  return givenPattern.test(id);
}

/** A new id, unrelated to anything the caller chose. */
export function createVolumeId(): string {
  return randomUUID();
}
