import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { checkProperty } from "../../testing/properties.js";
import { formatEntry, type JournalEntry, JournalError, parseEntry } from "./journal-entry.js";

const path = "/state/vol.json";
const size = fc.bigInt({ min: 0n, max: 2n ** 63n });
const count = fc.nat();
const entries: fc.Arbitrary<JournalEntry> = fc.record({
  volumeId: fc.stringMatching(/^[a-z0-9-]{1,128}$/),
  state: fc.constantFrom("adding", "serving"),
  ownerTag: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  deviceId: fc.option(count, { nil: undefined }),
  generation: count,
  image: fc.record({
    kind: fc.constantFrom("file", "memory"),
    path: fc.string({ minLength: 1, unit: "binary" }),
    inode: size,
    device: size,
  }),
  sizeBytes: size,
  resizingToBytes: fc.option(size, { nil: undefined }),
  limits: fc.record({ iops: count, readBytesPerSecond: count, burstMs: count }, { requiredKeys: [] }),
  logicalBlockSizeBytes: fc.constantFrom(512, 4096),
  readOnly: fc.boolean(),
  discard: fc.boolean(),
  queueCount: count,
  queueDepth: count,
  maxIoBytes: count,
  features: fc.array(fc.string()),
});

/** Either a whole entry of the volume, which can be written and read again, or the journal's own error. */
function expectEntryOrError(text: string, volumeId: string): void {
  try {
    const entry = parseEntry(text, volumeId, path);
    expect(entry.volumeId).toBe(volumeId);
    expect(parseEntry(formatEntry(entry), volumeId, path)).toEqual(entry);
  } catch (error) {
    expect(error).toBeInstanceOf(JournalError);
  }
}

describe("a journal entry", () => {
  test("is read as it was written", () => {
    checkProperty([entries], (entry) => {
      expect(parseEntry(formatEntry(entry), entry.volumeId, path)).toEqual(entry);
    });
  });

  test("of any text is an entry or a JournalError", () => {
    checkProperty([fc.string({ unit: "binary" })], (text) => expectEntryOrError(text, "vol"));
  });

  test("of any JSON is an entry or a JournalError", () => {
    checkProperty([fc.json()], (text) => expectEntryOrError(text, "vol"));
  });

  test("with one field replaced by anything is an entry or a JournalError", () => {
    checkProperty([entries, fc.nat(), fc.jsonValue()], (entry, choice, value) => {
      const record = JSON.parse(formatEntry(entry)) as Record<string, unknown>;
      const names = Object.keys(record);
      record[names[choice % names.length] ?? ""] = value;
      expectEntryOrError(JSON.stringify(record), entry.volumeId);
    });
  });

  test("cut short or damaged in one place is an entry or a JournalError", () => {
    checkProperty([entries, fc.nat(), fc.string({ maxLength: 3 })], (entry, position, damage) => {
      const text = formatEntry(entry);
      const at = position % text.length;
      expectEntryOrError(text.slice(0, at), entry.volumeId);
      expectEntryOrError(text.slice(0, at) + damage + text.slice(at + 1), entry.volumeId);
    });
  });
});
