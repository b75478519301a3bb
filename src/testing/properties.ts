import fc from "fast-check";

/** Set by `make fuzz`: jest hands its `globals` to every test file. */
const { fuzzSeconds } = globalThis as { fuzzSeconds?: number };
const usualRuns = 300;

/** Tries a property with a few hundred inputs or, under `make fuzz`, for so many seconds. */
export function checkProperty<T extends unknown[]>(
  arbitraries: { [Index in keyof T]: fc.Arbitrary<T[Index]> },
  predicate: (...values: T) => void,
): void {
  const extent =
    fuzzSeconds === undefined
      ? { numRuns: usualRuns }
      : { numRuns: Number.MAX_SAFE_INTEGER, interruptAfterTimeLimit: fuzzSeconds * 1000 };
  fc.assert(
    fc.property(fc.tuple<T>(...arbitraries), (values) => predicate(...values)),
    extent,
  );
}
