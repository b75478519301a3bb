import fc from "fast-check";
import { describeStep, type Step, sequences } from "./action.js";

export interface CheckOptions {
  /** Chooses the sequence. */
  seed: number;
  lengthMax: number;
  /** One in so many steps is the driver's last. */
  deathEvery: number;
  /** How many smaller sequences are tried once one has failed. */
  shrinksMax: number;
}

/** Tries one sequence. Returns what is wrong, with the smallest sequence that shows it, or undefined. */
export async function findFault(
  { seed, lengthMax, deathEvery, shrinksMax }: CheckOptions,
  run: (steps: readonly Step[]) => Promise<void>,
): Promise<string | undefined> {
  let tries = 0;
  const property = fc.asyncProperty(sequences({ lengthMax, deathEvery }), async (steps) => {
    if (tries++ <= shrinksMax) await run(steps);
  });
  const { failed, counterexample, errorInstance } = await fc.check(property, { seed, numRuns: 1, unbiased: true });
  if (!failed) return undefined;
  const lines = (counterexample?.[0] ?? []).map((step, index) => `  ${index + 1}. ${describeStep(step)}`);
  const reason = errorInstance instanceof Error ? errorInstance.message : String(errorInstance);
  return [`seed ${seed}: ${reason}, with these steps:`, ...lines].join("\n");
}
