import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { withFailPoint } from "./fail-point.js";
import type { Journal } from "./journal/journal.js";
import type { JournalEntry } from "./journal/journal-entry.js";

const entry = { volumeId: "vol", state: "serving" } as JournalEntry;
let steps: string[];
let journal: Journal;

beforeEach(() => {
  steps = [];
  journal = {
    read: async () => undefined,
    readAll: async () => ({ entries: [], problems: [] }),
    write: async ({ state }) => void steps.push(`write ${state}`),
    remove: async () => void steps.push("remove"),
    removeUnwritten: async () => undefined,
  };
  jest.spyOn(process, "kill").mockImplementation((pid, signal) => {
    steps.push(`${signal} of ${pid === process.pid ? "itself" : pid}`);
    return true;
  });
});

afterEach(() => {
  jest.restoreAllMocks();
});

describe("a fail point", () => {
  test("that nobody names leaves the journal as it is", () => {
    expect(withFailPoint(journal, undefined)).toBe(journal);
  });

  test("before a write ends the process before anything is written", async () => {
    await withFailPoint(journal, "before:journal-serving").write(entry);
    expect(steps).toEqual(["SIGKILL of itself", "write serving"]);
  });

  test("after a removal ends it afterwards, and at no other step", async () => {
    const mortal = withFailPoint(journal, "after:journal-remove");
    await mortal.write(entry);
    await mortal.remove("vol");
    expect(steps).toEqual(["write serving", "remove", "SIGKILL of itself"]);
  });

  test("of one volume lets the others pass", async () => {
    await withFailPoint(journal, "before:journal-serving:other").write(entry);
    await withFailPoint(journal, "before:journal-serving:vol").write(entry);
    expect(steps).toEqual(["write serving", "SIGKILL of itself", "write serving"]);
  });

  test("at a control command is the native engine's", () => {
    const dieAt = jest.fn((_point: string) => true);
    expect(withFailPoint(journal, "after:ADD_DEV", dieAt)).toBe(journal);
    expect(dieAt).toHaveBeenCalledWith("after:ADD_DEV");
  });

  test.each(["journal-remove", "during:journal-remove"])("of the name %s is refused", (point) => {
    expect(() => withFailPoint(journal, point, () => false)).toThrow(/fail point/);
  });
});
