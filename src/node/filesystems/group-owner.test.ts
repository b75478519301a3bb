import { chmod, mkdir, mkdtemp, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { runRealCommand } from "../../testing/workspace.js";
import { giveToGroup, isGiven } from "./group-owner.js";

// The only group that every user may give files to.
const gid = process.getgid?.() ?? 0;
let root: string;
let outside: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "ublk-csi-group-"));
  outside = `${root}.outside`;
  await mkdir(join(root, "folder"), { mode: 0o700 });
  await writeFile(join(root, "folder", "file"), "", { mode: 0o600 });
  await writeFile(outside, "", { mode: 0o600 });
  await symlink(outside, join(root, "link"));
});
afterEach(async () => {
  await rm(root, { recursive: true });
  await rm(outside);
});

const modeOf = async (...names: string[]) => ((await stat(join(root, ...names))).mode & 0o7777).toString(8);

test("root, directories and files can be used by the group, and new ones are the group's", async () => {
  expect(await isGiven(root, gid, runRealCommand)).toBe(false);
  await giveToGroup(root, gid, runRealCommand);
  expect([await modeOf(), await modeOf("folder"), await modeOf("folder", "file")]).toEqual(["2770", "2770", "660"]);
  expect(await isGiven(root, gid, runRealCommand)).toBe(true);
  expect(await isGiven(root, gid + 1, runRealCommand)).toBe(false);
});

test("what a link points to is left alone", async () => {
  await giveToGroup(root, gid, runRealCommand);
  expect((await stat(outside)).mode & 0o7777).toBe(0o600);
});

test("a file system whose root is the group's is not walked again", async () => {
  await giveToGroup(root, gid, runRealCommand);
  await chmod(join(root, "folder", "file"), 0o600);
  await giveToGroup(root, gid, runRealCommand);
  expect(await modeOf("folder", "file")).toBe("600");
});

test("a walk that was cut short is done again", async () => {
  let count = 0;
  const failing: typeof runRealCommand = (...call) =>
    ++count === 3 ? Promise.reject(new Error("cut short")) : runRealCommand(...call);
  await expect(giveToGroup(root, gid, failing)).rejects.toThrow("cut short");
  expect(await isGiven(root, gid, runRealCommand)).toBe(false);
});
