import { createHash, randomBytes } from "node:crypto";
import { open, readFile } from "node:fs/promises";

/** A piece of data as the demo shows it. */
export interface Content {
  sizeBytes: number;
  sha256: string;
}

const contentBytes = 8 * 1024 ** 2;

/** Writes random bytes, makes them durable with fsync, and returns what to expect back. */
export async function writeContent(path: string): Promise<Content> {
  const bytes = randomBytes(contentBytes);
  const file = await open(path, "w");
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
  return toContent(bytes);
}

/** Reads a file back, which must be what was written. */
export async function readContent(path: string, expected: Content): Promise<Content> {
  const content = toContent(await readFile(path));
  if (content.sha256 === expected.sha256) return content;
  throw new Error(`${path} reads back as ${describeContent(content)}, written was ${describeContent(expected)}`);
}

export function describeContent({ sizeBytes, sha256 }: Content): string {
  return `${sizeBytes / 1024 ** 2} MiB, sha256 ${sha256.slice(0, 16)}…`;
}

function toContent(bytes: Buffer): Content {
  return { sizeBytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
}
