import type { ImageCopySpec } from "../block-devices.js";
import { expectObject, FieldReader } from "./field-reader.js";
import { JournalError } from "./journal-entry.js";

/** The format this version writes, and the newest it reads. */
export const copyFormatVersion = 1;

/** What the engine remembers of a copy. How far it is, and whether it counts, says its file of progress. */
export interface CopyRecord extends ImageCopySpec {
  /** The ids of all copies of the same instant: they count together or not at all. */
  group: string[];
}

export function formatCopyRecord({ sizeBytes, ...plain }: CopyRecord): string {
  const record = { formatVersion: copyFormatVersion, ...plain, sizeBytes: String(sizeBytes) };
  return `${JSON.stringify(record, undefined, 2)}\n`;
}

/** Reads the text of the file `path` back, which must be about `copyId`. Throws a {@link JournalError}. */
export function parseCopyRecord(text: string, copyId: string, path: string): CopyRecord {
  try {
    const record = expectObject(JSON.parse(text));
    const read = new FieldReader(record);
    const source = new FieldReader(expectObject(record.source));
    read.oneOf("formatVersion", [copyFormatVersion]);
    return {
      copyId: read.oneOf("copyId", [copyId]),
      volumeId: read.text("volumeId"),
      source: { kind: source.oneOf("kind", ["file", "memory"]), path: source.text("path") },
      sizeBytes: read.bigint("sizeBytes"),
      targetPath: read.text("targetPath"),
      group: read.texts("group"),
    };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new JournalError("corrupt", `${path} cannot be read (${reason}): end the copy ${copyId}`, { cause });
  }
}

/** Whether a record is of the copy that the spec asks for. */
export function isSameCopy(record: CopyRecord, spec: ImageCopySpec): boolean {
  return (
    record.volumeId === spec.volumeId &&
    record.source.kind === spec.source.kind &&
    record.source.path === spec.source.path &&
    record.sizeBytes === spec.sizeBytes &&
    record.targetPath === spec.targetPath
  );
}
