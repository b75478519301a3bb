import { expect, test } from "@jest/globals";
import { toLatencyHistogram, toQuantileNs } from "./latency.js";

function histogram(counts: Record<number, bigint>) {
  const all = new BigUint64Array(109);
  for (const [index, count] of Object.entries(counts)) all[Number(index)] = count;
  return toLatencyHistogram({ sumNs: 7n, counts: all });
}

test("buckets have the bounds of four steps for each power of two from 1024 ns on", () => {
  const bounds = histogram({ 0: 1n, 1: 1n, 2: 1n, 5: 1n, 8: 1n }).buckets.map(({ fromNs, belowNs }) => [
    fromNs,
    belowNs,
  ]);
  expect(bounds).toEqual([
    [0, 1024],
    [1024, 1280],
    [1280, 1536],
    [2048, 2560],
    [3584, 4096],
  ]);
});

test("the last bucket has no end", () => {
  const [last] = histogram({ 108: 2n }).buckets;
  expect(last).toEqual({ fromNs: 256 * 2 ** 26 * 7, belowNs: Number.POSITIVE_INFINITY, count: 2n });
});

test("counts add up", () => {
  expect(histogram({ 0: 3n, 40: 4n })).toMatchObject({ count: 7n, sumNs: 7n });
});

test("a quantile is the end of the bucket that reaches the share", () => {
  const latency = histogram({ 0: 90n, 1: 9n, 5: 1n });
  expect([0.5, 0.9, 0.91, 1].map((share) => toQuantileNs(latency, share))).toEqual([1024, 1024, 1280, 2560]);
  expect(toQuantileNs(histogram({}), 0.5)).toBeUndefined();
});
