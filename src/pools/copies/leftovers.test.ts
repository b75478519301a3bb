import { afterEach, expect, test } from "@jest/globals";
import { createSilentLogger } from "../../log.js";
import { rejectionOf } from "../../testing/workspace.js";
import { type Leftover, Leftovers } from "./leftovers.js";

const away = new Error("the engine does not answer");
const usedUp: Leftovers[] = [];

afterEach(async () => {
  for (const leftovers of usedUp.splice(0)) await leftovers.close();
});

function open(pauseMs: number): Leftovers {
  const leftovers = new Leftovers({ logger: createSilentLogger(), pauseMs });
  usedUp.push(leftovers);
  return leftovers;
}

/** A left-over that is gone after so many attempts. */
function leftover(failures: number): Leftover & { attempts: number } {
  const left = {
    id: "snapshot",
    sourceId: "volume",
    attempts: 0,
    remove: async () => {
      left.attempts++;
      if (left.attempts <= failures) throw away;
    },
  };
  return left;
}

const neverMs = 3_600_000;

test("a left-over is tried again until it is gone", async () => {
  const left = leftover(3);
  const leftovers = open(1);
  leftovers.add(left, away);
  while (left.attempts < 4) await new Promise(setImmediate);
  await leftovers.clear(["volume"]);
  expect(left.attempts).toBe(4);
});

test("is tried at once by whoever would leave more of the same source, and fails that when it cannot go", async () => {
  const left = leftover(1);
  const leftovers = open(neverMs);
  leftovers.add(left, away);
  await leftovers.clear(["another volume"]);
  expect(left.attempts).toBe(0);
  expect(await rejectionOf(leftovers.clear(["volume"]))).toBe(away);
  await leftovers.clear(["volume"]);
  expect(left.attempts).toBe(2);
});

test("is removed by one attempt at a time, which all wait for", async () => {
  let finish: () => void = () => undefined;
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  let attempts = 0;
  const leftovers = open(neverMs);
  const remove = async () => {
    attempts++;
    await finished;
  };
  leftovers.add({ id: "snapshot", sourceId: "volume", remove }, away);
  const both = [leftovers.clear(["volume"]), leftovers.clear(["volume"])];
  finish();
  await Promise.all(both);
  expect(attempts).toBe(1);
});

test("is left to the next start when this one ends", async () => {
  const left = leftover(0);
  const leftovers = open(neverMs);
  leftovers.add(left, away);
  await leftovers.close();
  leftovers.add({ ...left, id: "later" }, away);
  await leftovers.close();
  expect(left.attempts).toBe(0);
});
