import type { FlushMarks } from "./inspection.js";
import { fileKey, rawKey, readyMark } from "./layout.js";
import type { WriteLogEntry } from "./write-log.js";

/** A moment at which the power fails: after so many entries of the log. */
export interface Point {
  entryCount: number;
  marks: FlushMarks;
}

/** Points spread evenly over the load, with a random shift each, so that they fall between marks as well as on them. */
export function choosePoints(entries: WriteLogEntry[], count: number): Point[] {
  const ready = entries.findIndex(({ mark }) => mark === readyMark);
  if (ready < 0) throw new Error("the log has no load in it");
  const step = (entries.length - ready - 1) / count;
  return Array.from({ length: count }, (_, index) => {
    const entryCount = Math.floor(ready + 1 + (index + Math.random()) * step);
    return { entryCount, marks: findMarks(entries.slice(0, entryCount)) };
  });
}

function findMarks(entries: WriteLogEntry[]): FlushMarks {
  return { raw: findLast(entries, rawKey), file: findLast(entries, fileKey) };
}

function findLast(entries: WriteLogEntry[], key: number): number {
  const prefix = `${key}-flush-`;
  const last = entries.findLast(({ mark }) => mark?.startsWith(prefix));
  return last?.mark === undefined ? 0 : Number(last.mark.slice(prefix.length));
}
