import { open, readFile, truncate, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { runRealCommand, Workspace } from "../../testing/workspace.js";
import { createHeadOverlay, openUnnamed, overlaidBytes } from "./head-overlay.js";

let workspace: Workspace;

beforeEach(async () => {
  workspace = await Workspace.create();
});
afterEach(() => workspace.remove());

const gibibyte = 1024 ** 3;

/** A sparse file with words at these places. */
async function makeFile(name: string, sizeBytes: number, words: Record<number, string>): Promise<string> {
  const path = workspace.path(name);
  await writeFile(path, "");
  await truncate(path, sizeBytes);
  const file = await open(path, "r+");
  for (const [at, text] of Object.entries(words)) await file.write(text, Number(at));
  await file.close();
  return path;
}

describe("an overlay", () => {
  test.each([
    ["less than it has", 1_000, 512],
    ["one entry of its table", 3 * overlaidBytes, 2 * overlaidBytes + 7],
    ["many entries", 3 * gibibyte, 2 * gibibyte + 7],
    ["more entries than a cluster has", 5_000 * gibibyte, 4_999 * gibibyte],
  ])("has the head, and what it lies over the rest, of a file of %s", async (_what, sizeBytes, laterAt) => {
    const rest: Record<number, string> =
      sizeBytes > overlaidBytes ? { [overlaidBytes]: "second cluster", [laterAt]: "later" } : {};
    const expected = await makeFile("expected", sizeBytes, { 0: "as it was", ...rest });
    const below = await makeFile("below", sizeBytes, { 0: "as it is now", [overlaidBytes - 600]: "new", ...rest });
    await truncate(below, sizeBytes);
    const overlay = workspace.path("overlay");
    const head = Buffer.alloc(overlaidBytes);
    head.write("as it was");
    await writeFile(overlay, createHeadOverlay(head, BigInt(sizeBytes)));
    expect((await runRealCommand("qemu-img", ["check", "-f", "qcow2", overlay])).stdout).toContain("No errors");
    const file = (filename: string) => ({ driver: "file", filename });
    const backing = { driver: "raw", file: file(below) };
    const whole = `json:${JSON.stringify({ driver: "qcow2", file: file(overlay), backing })}`;
    const { stdout } = await runRealCommand("qemu-img", ["compare", "-F", "raw", whole, expected]);
    expect(stdout).toBe("Images are identical.\n");
  });
});

test("a file without a name has its content for whoever has its descriptor, and its folder shows nothing", async () => {
  const before = await runRealCommand("ls", ["-A", workspace.directory]);
  const file = await openUnnamed(workspace.directory, Buffer.from("content"));
  expect(await readFile(`/proc/${process.pid}/fd/${file.fd}`, "utf8")).toBe("content");
  expect((await file.stat()).mode & 0o777).toBe(0o600);
  expect(await runRealCommand("ls", ["-A", workspace.directory])).toEqual(before);
  await file.close();
});
