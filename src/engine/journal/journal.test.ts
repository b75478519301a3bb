import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { FileJournal } from "./journal.js";
import type { JournalEntry } from "./journal-entry.js";

const entry: JournalEntry = {
  volumeId: "vol-1",
  state: "serving",
  ownerTag: 0xfedc_ba98_7654_3210n,
  deviceId: 7,
  generation: 2,
  image: { kind: "file", path: "/pool/volumes/vol-1/image", inode: 2n ** 60n + 1n, device: 66306n },
  sizeBytes: 2n ** 62n,
  resizingToBytes: 2n ** 62n + 512n,
  limits: { iops: 100, readBytesPerSecond: 1 << 30, burstMs: 50 },
  logicalBlockSizeBytes: 4096,
  readOnly: false,
  discard: true,
  queueCount: 1,
  queueDepth: 64,
  maxIoBytes: 131072,
  features: ["USER_RECOVERY"],
};

let folder: string;
let journal: FileJournal;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ublk-journal-"));
  journal = new FileJournal(join(folder, "engine", "devices"));
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

const pathOf = (volumeId: string) => join(folder, "engine", "devices", `${volumeId}.json`);

async function rewrite(change: (record: Record<string, unknown>) => void): Promise<void> {
  const record = JSON.parse(await readFile(pathOf("vol-1"), "utf8"));
  change(record);
  await writeFile(pathOf("vol-1"), JSON.stringify(record));
}

test("gives back what was written, 64-bit numbers included", async () => {
  await journal.write(entry);
  expect(await journal.read("vol-1")).toEqual(entry);
  await journal.write({ ...entry, deviceId: undefined, state: "adding" });
  expect(await journal.read("vol-1")).toEqual({ ...entry, deviceId: undefined, state: "adding" });
  expect(JSON.parse(await readFile(pathOf("vol-1"), "utf8"))).toMatchObject({ ownerTag: "0xfedcba9876543210" });
});

test("has nothing before the first write, and forgets what was removed", async () => {
  expect(await journal.read("vol-1")).toBeUndefined();
  expect(await journal.readAll()).toEqual({ entries: [], problems: [] });
  await journal.write(entry);
  await journal.remove("vol-1");
  await journal.remove("vol-1");
  expect(await journal.readAll()).toEqual({ entries: [], problems: [] });
});

test("leaves no temporary file, and neither reads nor keeps one that a crash left", async () => {
  await journal.write(entry);
  expect(await readdir(join(folder, "engine", "devices"))).toEqual(["vol-1.json"]);
  await writeFile(`${pathOf("vol-2")}.tmp`, "half a rec");
  expect((await journal.readAll()).problems).toEqual([]);
  await journal.removeUnwritten("vol-2");
  await writeFile(`${pathOf("vol-1")}.tmp`, "half a rec");
  await journal.remove("vol-1");
  expect(await readdir(join(folder, "engine", "devices"))).toEqual([]);
});

test("refuses a newer format and says what to do", async () => {
  await journal.write(entry);
  await rewrite((record) => {
    record.formatVersion = 3;
    record.state = "hibernating";
  });
  const message = `${pathOf("vol-1")} has format 3, and this version reads up to 2: run the version that wrote it, or a later one`;
  await expect(journal.read("vol-1")).rejects.toMatchObject({ name: "JournalError", code: "newer", message });
});

test("reads the first format, which knew neither limits nor resize", async () => {
  await journal.write(entry);
  await rewrite((record) => {
    record.formatVersion = 1;
    delete record.limits;
    delete record.resizingToBytes;
  });
  expect(await journal.read("vol-1")).toEqual({ ...entry, limits: {}, resizingToBytes: undefined });
});

test.each<[string, (record: Record<string, unknown>) => void, string]>([
  ["another volume's", (record) => Object.assign(record, { volumeId: "vol-2" }), 'volumeId is "vol-2"; expected vol-1'],
  ["one without a tag", (record) => delete record.ownerTag, "ownerTag is undefined; expected a text"],
  [
    "one with a negative id",
    (record) => Object.assign(record, { deviceId: -1 }),
    "deviceId is -1; expected a whole number",
  ],
  ["one with a strange size", (record) => Object.assign(record, { sizeBytes: "1e3" }), 'sizeBytes is "1e3"; expected'],
  ["one with half a limit", (record) => Object.assign(record, { limits: { iops: 0.5 } }), "iops is 0.5; expected"],
  ["one without an image", (record) => Object.assign(record, { image: null }), "expected a JSON object"],
  ["one of no format", (record) => delete record.formatVersion, "formatVersion is undefined; expected 1 or 2"],
])("reports an entry that is corrupt, %s, and keeps it", async (_what, change, reason) => {
  await journal.write(entry);
  await rewrite(change);
  const before = await readFile(pathOf("vol-1"), "utf8");
  await expect(journal.read("vol-1")).rejects.toMatchObject({
    code: "corrupt",
    message: expect.stringContaining(reason),
  });
  const { entries, problems } = await journal.readAll();
  expect(entries).toEqual([]);
  const left = expect.stringContaining("it was left as it is");
  expect(problems).toEqual([{ volumeId: "vol-1", reason: left, text: before }]);
  expect(await readFile(pathOf("vol-1"), "utf8")).toBe(before);
});

test.each(["", "{", "[]", '"text"', "\0\0\0"])("calls %j corrupt", async (text) => {
  await journal.write(entry);
  await writeFile(pathOf("vol-1"), text);
  await expect(journal.read("vol-1")).rejects.toMatchObject({ code: "corrupt" });
});
