import { mkdtemp, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { createGate } from "../testing/gate.js";
import { rejectionOf } from "../testing/workspace.js";
import { acquireFileLock, LockConflict } from "./file-lock.js";

let directory: string;
let path: string;
const what = "state directory /state";

beforeEach(async () => {
  directory = await mkdtemp("/tmp/ublk-csi-test-");
  path = join(directory, "lock");
});

afterEach(() => rm(directory, { recursive: true }));

test("a second holder is refused, and told who has it", async () => {
  const lock = await acquireFileLock(path, { what });
  const error = await rejectionOf(acquireFileLock(path, { what, waitSeconds: 0 }));
  expect(error.message).toBe(`${what} is in use by process ${process.pid}: stop it, or choose another`);
  expect(error).toBeInstanceOf(LockConflict);
  await lock.release();
});

test("after the release the next one has it", async () => {
  await (await acquireFileLock(path, { what })).release();
  await (await acquireFileLock(path, { what, waitSeconds: 0 })).release();
  expect(await readFile(path, "utf8")).toBe(`${process.pid}\n`);
});

test("waits for a predecessor which is about to let go", async () => {
  const first = await acquireFileLock(path, { what });
  const second = acquireFileLock(path, { what, waitSeconds: 20 });
  await first.release();
  await (await second).release();
});

test("waits for ever when told to, and until it is told to give up", async () => {
  const first = await acquireFileLock(path, { what });
  const giveUp = new AbortController();
  const given = rejectionOf(acquireFileLock(path, { what, waitSeconds: "forever", signal: giveUp.signal }));
  const second = acquireFileLock(path, { what, waitSeconds: "forever" });
  await rejectionOf(acquireFileLock(path, { what, waitSeconds: 1 }));
  giveUp.abort();
  expect((await given).message).toContain("cannot lock");
  await first.release();
  await (await second).release();
});

test("a lock that cannot be taken at all says so", async () => {
  const missing = join(directory, "missing", "lock");
  const error = await rejectionOf(acquireFileLock(missing, { what }));
  expect(error.message).toMatch(/cannot lock state directory .*writable/);
  expect(error).not.toBeInstanceOf(LockConflict);
});

test("losing the holder is noticed", async () => {
  const lost = createGate();
  const lock = await acquireFileLock(path, { what, onLost: lost.open });
  if (lock.holderPid === undefined) throw new Error("the lock has no holder");
  process.kill(lock.holderPid, "SIGKILL");
  await lost.opened;
  await lock.release();
});
