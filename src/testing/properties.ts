import fc from "fast-check";

/** Set by `make fuzz`: jest hands its `globals` to every test file. */
const { fuzzSeconds } = globalThis as { fuzzSeconds?: number };
const usualRuns = 300;

/** Tries a property with a few hundred inputs or, under `make fuzz`, for so many seconds. */
export function checkProperty<T extends unknown[]>(
  arbitraries: { [Index in keyof T]: fc.Arbitrary<T[Index]> },
  predicate: (...values: T) => void,
): void {
  fc.assert(
    fc.property(fc.tuple<T>(...arbitraries), (values) => predicate(...values)),
    extent(),
  );
}

/** The same for a property of something that takes time. */
export async function checkAsyncProperty<T extends unknown[]>(
  arbitraries: { [Index in keyof T]: fc.Arbitrary<T[Index]> },
  predicate: (...values: T) => Promise<void>,
): Promise<void> {
  await fc.assert(
    fc.asyncProperty(fc.tuple<T>(...arbitraries), async (values) => await predicate(...values)),
    extent(),
  );
}

function extent(): fc.Parameters<unknown> {
  if (fuzzSeconds === undefined) return { numRuns: usualRuns };
  return { numRuns: Number.MAX_SAFE_INTEGER, interruptAfterTimeLimit: fuzzSeconds * 1000 };
}
