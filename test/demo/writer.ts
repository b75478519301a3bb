/**
 * The program that a pod would run: writes numbered records into the file of its first argument, each made durable by
 * fsync before the next, until it is told to stop. Reports to its parent what is durable.
 */
import { open } from "node:fs/promises";
import type { WriterReport } from "./record-writer.js";
import { makeRecord, toOffsetBytes } from "./records.js";

const reportInterval = 10;

const [path] = process.argv.slice(2);
if (path === undefined) throw new Error("expected the path of the file to write");
let stopping = false;
process.once("message", () => {
  stopping = true;
});
await writeUntilStopped(path);
process.disconnect();

async function writeUntilStopped(path: string): Promise<void> {
  const file = await open(path, "w");
  let longestPauseMs = 0;
  let written = 0;
  while (!stopping) {
    const startedAt = performance.now();
    await file.write(makeRecord(written), 0, undefined, toOffsetBytes(written));
    await file.sync();
    longestPauseMs = Math.max(longestPauseMs, performance.now() - startedAt);
    written++;
    if (written % reportInterval === 0) report({ written, longestPauseMs, done: false });
  }
  await file.close();
  report({ written, longestPauseMs, done: true });
}

function report(report: WriterReport): void {
  process.send?.(report);
}
