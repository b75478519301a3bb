import { mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { temporaryPathOf, writeFileDurably } from "../../system/files.js";
import { type CopyRecord, formatCopyRecord, parseCopyRecord } from "./copy-record.js";
import { readFolder, readIfThere, removeDurably } from "./durable-files.js";

const idPattern = /^[a-z0-9-]{1,128}$/;
/** The begin of a file of progress: eight letters, the format, the state. */
const progressHeadBytes = 16;
const stateOffsetBytes = 12;
const startingState = 0;

/** The copies on disk: `<folder>/<copyId>.json`, and beside it the engine's `<copyId>.progress`. */
export class CopyRecords {
  /** `folder` is made when it is first needed. */
  constructor(private readonly folder: string) {}

  /** Throws a `JournalError` when there is one that cannot be read. */
  async read(copyId: string): Promise<CopyRecord | undefined> {
    const path = this.toPath(copyId, "json");
    const text = await readIfThere(path);
    return text === undefined ? undefined : parseCopyRecord(text, copyId, path);
  }

  /** The ids of all records, and those that have only a file of progress, or half a record: a crash can leave these. */
  async list(): Promise<{ known: string[]; orphans: string[] }> {
    const names = await readFolder(this.folder);
    const idsOf = (ending: string) =>
      names
        .filter((name) => name.endsWith(ending))
        .map((name) => name.slice(0, -ending.length))
        .filter((id) => idPattern.test(id));
    const known = idsOf(".json");
    const begun = new Set([...idsOf(".progress"), ...idsOf(temporaryPathOf(".json"))]);
    return { known, orphans: [...begun].filter((id) => !known.includes(id)) };
  }

  /** Before the first file of progress. */
  async makeFolder(): Promise<void> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
  }

  async write(record: CopyRecord): Promise<void> {
    await writeFileDurably(this.toPath(record.copyId, "json"), formatCopyRecord(record));
  }

  /** The record first: what is left then is an orphan. */
  async remove(copyId: string): Promise<void> {
    await this.makeFolder();
    await removeDurably(this.toPath(copyId, "json"));
    await removeDurably(this.toPath(copyId, "progress"));
  }

  /** From now on the copy is one that cannot be gone on with. */
  async forgetProgress(copyId: string): Promise<void> {
    await removeDurably(this.toProgressPath(copyId));
  }

  /** Whether the instant of a copy was never fixed. A file of progress that is gone or broken says nothing of the kind. */
  async isStarting(copyId: string): Promise<boolean> {
    const file = await open(this.toProgressPath(copyId)).catch(() => undefined);
    if (file === undefined) return false;
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(progressHeadBytes), 0, progressHeadBytes, 0);
      return bytesRead === progressHeadBytes && buffer.readUInt32LE(stateOffsetBytes) === startingState;
    } finally {
      await file.close();
    }
  }

  toProgressPath(copyId: string): string {
    return this.toPath(copyId, "progress");
  }

  private toPath(copyId: string, kind: string): string {
    if (idPattern.test(copyId)) return join(this.folder, `${copyId}.${kind}`);
    throw new RangeError(`copy id ${JSON.stringify(copyId)} is not of the form [a-z0-9-]{1,128}`);
  }
}
