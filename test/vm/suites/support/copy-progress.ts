import { open } from "node:fs/promises";
import { join } from "node:path";

/** The state of a copy that goes on, in its file of progress. */
export const copyingState = 1;

export function progressPath(stateDir: string, copyId: string): string {
  return join(stateDir, "engine/copies", `${copyId}.progress`);
}

/** The state of a copy as its file of progress has it, which no engine has to be there for. */
export async function readCopyState(stateDir: string, copyId: string): Promise<number> {
  const file = await open(progressPath(stateDir, copyId));
  const { buffer } = await file.read(Buffer.alloc(16), 0, 16, 0);
  await file.close();
  return buffer.readUInt32LE(12);
}
