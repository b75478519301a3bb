import { expect, test } from "@jest/globals";
import { defaultQueueCount, defaultQueueDepth } from "./default-geometry.js";
import { validateOptions } from "./options.js";

const counts: [number, number, number][] = [
  [1, 1, 1],
  [2, 1, 1],
  [4, 1, 2],
  [8, 2, 4],
  [64, 4, 4],
];

test.each(counts)("with %i processors: %i queues for a file, %i for memory", (cpuCount, file, memory) => {
  expect(defaultQueueCount("file", cpuCount)).toBe(file);
  expect(defaultQueueCount("memory", cpuCount)).toBe(memory);
});

test("a file gets a deeper queue", () => {
  expect(defaultQueueDepth("file")).toBe(128);
  expect(defaultQueueDepth("memory")).toBe(64);
});

test("what is asked for comes before any default", () => {
  const params = { target: { kind: "memory" }, sizeBytes: 1 << 20 } as const;
  expect(validateOptions(params, { queueCount: 3, queueDepth: 5 })).toMatchObject({ queueCount: 3, queueDepth: 5 });
});
