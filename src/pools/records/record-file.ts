import { readFile } from "node:fs/promises";
import * as z from "zod";
import { DriverError, toMessage } from "../../errors.js";
import { writeFileDurably } from "../../system/files.js";

/** A kind of JSON record on disk: its current format version and the shape of that version. */
export interface RecordFormat<T> {
  /** For messages, for example "pool record". */
  name: string;
  version: number;
  schema: z.ZodType<T>;
}

/** Stores a record so that a crash leaves the old one or the new one. */
export async function writeRecord<T>(path: string, format: RecordFormat<T>, value: T): Promise<void> {
  const content = { formatVersion: format.version, ...(z.encode(format.schema, value) as object) };
  await writeFileDurably(path, `${JSON.stringify(content, null, 2)}\n`);
}

/** Reads a record; a corrupt one and one of a newer format are errors that name the file and the remedy. */
export async function readRecord<T>(path: string, format: RecordFormat<T>): Promise<T> {
  const content = parseJson(path, format, await readFile(path, "utf8"));
  const version = versionOf(content);
  if (version !== undefined && version > format.version) {
    throw new DriverError(
      "refused",
      `${path} has format version ${version}, this ublk-csi reads up to ${format.version}: upgrade ublk-csi`,
    );
  }
  const parsed = format.schema.safeParse(content);
  if (version === undefined || !parsed.success) {
    const reason = version === undefined ? "formatVersion is missing" : z.prettifyError(parsed.error as z.ZodError);
    throw corrupt(path, format, reason.replaceAll("\n", " "));
  }
  return parsed.data;
}

function parseJson<T>(path: string, format: RecordFormat<T>, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw corrupt(path, format, toMessage(cause), cause);
  }
}

function versionOf(content: unknown): number | undefined {
  const parsed = z.object({ formatVersion: z.int().positive() }).safeParse(content);
  return parsed.success ? parsed.data.formatVersion : undefined;
}

function corrupt<T>(path: string, format: RecordFormat<T>, reason: string, cause?: unknown): DriverError {
  const message = `${path} is not a valid ${format.name} (${reason}): restore it from a backup, or move it away`;
  return new DriverError("internal", message, { cause });
}
