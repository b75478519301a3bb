import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { writeFileDurably } from "../system/files.js";
import { readFolder, readIfThere, removeDurably } from "./durable-files.js";
import { formatEntry, type JournalEntry, JournalError, parseEntry } from "./journal-entry.js";

/** Remembers every device of this driver instance across crashes. */
export interface Journal {
  /** Throws a {@link JournalError} when there is an entry which cannot be read. */
  read(volumeId: string): Promise<JournalEntry | undefined>;
  /** Every readable entry, and what is wrong with the others. */
  readAll(): Promise<JournalContents>;
  /** Once it resolves the entry survives a crash. */
  write(entry: JournalEntry): Promise<void>;
  remove(volumeId: string): Promise<void>;
}

export interface JournalContents {
  entries: JournalEntry[];
  problems: JournalProblem[];
}

export interface JournalProblem {
  volumeId: string;
  reason: string;
}

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
    for (const name of await readFolder(this.folder)) {
      const volumeId = name.endsWith(".json") ? name.slice(0, -".json".length) : "";
      if (volumeIdPattern.test(volumeId)) await this.readInto(contents, volumeId);
    }
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

  private async readInto({ entries, problems }: JournalContents, volumeId: string): Promise<void> {
    try {
      const entry = await this.read(volumeId);
      if (entry) entries.push(entry);
    } catch (error) {
      if (!(error instanceof JournalError)) throw error;
      problems.push({ volumeId, reason: error.message });
    }
  }

  private toPath(volumeId: string): string {
    if (volumeIdPattern.test(volumeId)) return join(this.folder, `${volumeId}.json`);
    throw new RangeError(`volume id ${JSON.stringify(volumeId)} is not of the form [a-z0-9-]{1,128}`);
  }
}
