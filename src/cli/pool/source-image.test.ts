import { mkdir, readFile, rename, symlink, utimes, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { rejectionOf, runRealCommand, Workspace } from "../../testing/workspace.js";
import { unpackImage } from "./image-transfer.js";
import { SourceImage } from "./source-image.js";

let workspace: Workspace;
let source: SourceImage | undefined;

beforeEach(async () => {
  workspace = await Workspace.create();
});
afterEach(async () => {
  await source?.close();
  source = undefined;
  await workspace.remove();
});

const transfer = { runCommand: runRealCommand, signal: new AbortController().signal };
const sizeBytes = 1 << 20;

/** An image of a disk that has these words all over, in the given format. */
async function makeImage(name: string, format: "raw" | "qcow2", words = "public "): Promise<string> {
  const raw = workspace.path(`${name}.raw`);
  await writeFile(raw, Buffer.alloc(sizeBytes, words));
  if (format === "raw") return raw;
  const path = workspace.path(`${name}.qcow2`);
  await runRealCommand("qemu-img", ["convert", "-O", "qcow2", raw, path]);
  return path;
}

/** The head of an empty image that leaves it to another file what the disk holds. */
async function readEvilHead(...args: string[]): Promise<Buffer> {
  const [raw, evil] = [await makeImage("secret", "raw", "secret "), workspace.path("evil.qcow2")];
  const own = args.map((arg) => arg.replace("SECRET", raw));
  await runRealCommand("qemu-img", ["create", "-q", "-f", "qcow2", ...own, evil, String(sizeBytes)]);
  return await readFile(evil);
}

async function unpack(name = "unpacked"): Promise<string> {
  const target = workspace.path(name);
  await unpackImage(source as SourceImage, target, transfer);
  return (await readFile(target)).toString("latin1", 0, 14);
}

describe("an image that is being imported", () => {
  test("is not taken for unchanged when it named a backing file for a while, whatever its times say", async () => {
    const path = await makeImage("image", "qcow2");
    const plain = await readFile(path);
    await utimes(path, 1_000_000, 1_000_000);
    source = await SourceImage.open(path, undefined);
    await source.assertUnchanged();
    await writeFile(path, await readEvilHead("-b", "SECRET", "-F", "raw"));
    await writeFile(path, plain);
    await utimes(path, 1_000_000, 1_000_000);
    expect((await rejectionOf(source.assertUnchanged())).message).toContain("was written to while it was read");
  });

  test.each([
    ["a backing file", ["-b", "SECRET", "-F", "raw"]],
    ["a data file", ["-o", "data_file=SECRET,data_file_raw=on"]],
  ])("cannot lead to %s that it names after it was looked at", async (_what, args) => {
    const path = await makeImage("image", "qcow2");
    const plain = await readFile(path);
    source = await SourceImage.open(path, undefined);
    const evil = await readEvilHead(...args);
    await writeFile(workspace.path("secret.raw"), Buffer.alloc(sizeBytes, "secret "));
    await writeFile(path, evil);
    const refusal = await rejectionOf(SourceImage.open(path, undefined));
    expect(refusal.message).toMatch(/has a backing file|keeps its data in another file/);
    expect(await unpack("of-evil")).not.toContain("secret");
    // Only the head is another: where the clusters lie is found as before.
    await writeFile(path, Buffer.concat([evil.subarray(0, 65_536), plain.subarray(65_536)]));
    expect(await unpack()).toBe("public public ");
    expect((await rejectionOf(source.assertUnchanged())).message).toContain("was written to while it was read");
  });

  test.each(["raw", "qcow2"] as const)(
    "is the one that was looked at when its name leads elsewhere by then: %s",
    async (format) => {
      const path = await makeImage("image", format);
      source = await SourceImage.open(path, format);
      await rename(path, workspace.path("moved"));
      await symlink(await makeImage("secret", format, "secret "), path);
      expect(await unpack()).toBe("public public ");
    },
  );

  test("is known by where it lies, and not by a name that led to it", async () => {
    const path = await makeImage("image", "raw");
    await mkdir(workspace.path("folder"));
    await symlink(path, workspace.path("folder", "link"));
    source = await SourceImage.open(workspace.path("folder", "link"), undefined);
    expect(source.facts.path).toBe(path);
  });
});
