import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { toMessage } from "../../errors.js";
import { temporaryPathOf, writeFileDurably } from "../../system/files.js";
import { inParallel } from "../../system/in-parallel.js";
import { readFolder, readIfThere, removeDurably } from "./durable-files.js";
import { formatEntry, type JournalEntry, parseEntry } from "./journal-entry.js";

/** Remembers every device of this driver instance across crashes. */
export interface Journal {
  /** Throws a {@link JournalError} when there is an entry which cannot be read. */
  read(volumeId: string): Promise<JournalEntry | undefined>;
  /** Every readable entry, and what is wrong with the others: one that cannot be read hides none of them. */
  readAll(): Promise<JournalContents>;
  /** Once it resolves the entry survives a crash. */
  write(entry: JournalEntry): Promise<void>;
  remove(volumeId: string): Promise<void>;
  /** Clears away what a crash has left of a first entry that was never there. Nobody may be writing one. */
  removeUnwritten(volumeId: string): Promise<void>;
}

export interface JournalContents {
  entries: JournalEntry[];
  problems: JournalProblem[];
}

export interface JournalProblem {
  volumeId: string;
  reason: string;
  /** What the entry says, where it could be read at all. */
  text?: string;
}

const readsAtOnceMax = 16;
const byVolumeId = (one: { volumeId: string }, other: { volumeId: string }) => (one.volumeId < other.volumeId ? -1 : 1);
const volumeIdPattern = /^[a-z0-9-]{1,128}$/;

/** One file per volume: `<folder>/<volumeId>.json`. */
export class FileJournal implements Journal {
  /** `folder` is made when it is first needed. */
  constructor(private readonly folder: string) {}

  async read(volumeId: string): Promise<JournalEntry | undefined> {
    const path = this.toPath(volumeId);
    const text = await readIfThere(path);
    return text === undefined ? undefined : parseEntry(text, volumeId, path);
  }

  async readAll(): Promise<JournalContents> {
    const contents: JournalContents = { entries: [], problems: [] };
    const volumeIds = (await readFolder(this.folder))
      .map((name) => (name.endsWith(".json") ? name.slice(0, -".json".length) : ""))
      .filter((volumeId) => volumeIdPattern.test(volumeId));
    await inParallel(volumeIds, readsAtOnceMax, (volumeId) => this.readInto(contents, volumeId));
    contents.entries.sort(byVolumeId);
    contents.problems.sort(byVolumeId);
    return contents;
  }

  async write(entry: JournalEntry): Promise<void> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    await writeFileDurably(this.toPath(entry.volumeId), formatEntry(entry));
  }

  async remove(volumeId: string): Promise<void> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    await removeDurably(this.toPath(volumeId));
  }

  async removeUnwritten(volumeId: string): Promise<void> {
    await rm(temporaryPathOf(this.toPath(volumeId)), { force: true });
  }

  private async readInto({ entries, problems }: JournalContents, volumeId: string): Promise<void> {
    const path = this.toPath(volumeId);
    let text: string | undefined;
    try {
      text = await readIfThere(path);
      if (text !== undefined) entries.push(parseEntry(text, volumeId, path));
    } catch (error) {
      problems.push({ volumeId, reason: toMessage(error), ...(text !== undefined && { text }) });
    }
  }

  private toPath(volumeId: string): string {
    if (volumeIdPattern.test(volumeId)) return join(this.folder, `${volumeId}.json`);
    throw new RangeError(`volume id ${JSON.stringify(volumeId)} is not of the form [a-z0-9-]{1,128}`);
  }
}
