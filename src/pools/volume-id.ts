import { randomUUID } from "node:crypto";

const pattern = /^[a-z0-9-]{1,128}$/;

/** Whether an id has the form of ours. Any other cannot name a volume of this driver, and must never meet a path. */
export function isVolumeId(id: string): boolean {
  return pattern.test(id);
}

/** A new id, unrelated to anything the caller chose. */
export function createVolumeId(): string {
  return randomUUID();
}
