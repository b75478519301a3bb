import { expect, test } from "@jest/globals";
import { createGate } from "../testing/gate.js";
import { inParallel } from "./in-parallel.js";

const turn = () => new Promise((resolve) => setImmediate(resolve));

test("every item has its turn, in order, and no more than the width at once", async () => {
  const begun: number[] = [];
  let [running, most] = [0, 0];
  await inParallel([1, 2, 3, 4, 5, 6, 7], 3, async (item) => {
    begun.push(item);
    most = Math.max(most, ++running);
    await turn();
    running--;
  });
  expect(begun).toEqual([1, 2, 3, 4, 5, 6, 7]);
  expect(most).toBe(3);
});

test("a failure is the caller's, and what has not begun is not begun", async () => {
  const begun: number[] = [];
  const gate = createGate();
  const done = inParallel([1, 2, 3, 4], 2, async (item) => {
    begun.push(item);
    if (item === 1) throw new Error("one failed");
    await gate.opened;
  });
  await expect(done).rejects.toThrow("one failed");
  gate.open();
  await turn();
  expect(begun).toEqual([1, 2]);
});
