import fc from "fast-check";
import { snapshotSlots, targetSlots, volumeSlots } from "./state.js";
import type { Access, PoolName } from "./world.js";

/** What a caller of the driver, or a pod, may do next; in any order, so that much of it makes no sense. */
export type Action =
  | { do: "create"; volume: number; units: number; access: Access; pool: PoolName; from?: Source | undefined }
  | { do: "delete" | "stage" | "unstage" | "node-expand" | "read"; volume: number }
  | { do: "publish"; volume: number; target: number; readOnly: boolean }
  | { do: "unpublish" | "write" | "stats"; volume: number; target: number }
  | { do: "expand"; volume: number; units: number }
  | { do: "modify"; volume: number; iops: number }
  | { do: "snapshot"; snapshot: number; volume: number }
  | { do: "delete-snapshot"; snapshot: number }
  | { do: "group"; volumes: number[] }
  | { do: "delete-group" | "list" };

/** What a volume is made from. */
export type Source = { kind: "volume" | "snapshot" | "member"; slot: number };

/** The driver dies after so many steps of an action, or right after it when it has fewer. */
export interface Death {
  steps: number;
  /** What the caller does then: asks for the same again, or gives up and asks for the opposite. */
  next: "repeat" | "give-up";
}

export interface Step {
  action: Action;
  death?: Death | undefined;
}

const volume = fc.constantFrom(...volumeSlots);
const snapshot = fc.constantFrom(...snapshotSlots);
const target = fc.constantFrom(...targetSlots);
const units = fc.integer({ min: 1, max: 3 });
const access = fc.constantFrom<Access>("mount", "block");
const pool = fc.constantFrom<PoolName>("disk", "disk", "memory");
const source = fc.record<Source>({
  kind: fc.constantFrom("volume", "snapshot", "member"),
  slot: fc.integer({ min: 0, max: 2 }),
});

const simply = <Verb extends string>(verb: Verb) => fc.record({ do: fc.constant(verb), volume });
const atTarget = <Verb extends string>(verb: Verb) => fc.record({ do: fc.constant(verb), volume, target });

const weighted = (weight: number, arbitrary: fc.Arbitrary<Action>) => ({ weight, arbitrary });
const action = fc.oneof(
  weighted(6, fc.record({ do: fc.constant("create"), volume, units, access, pool })),
  weighted(4, fc.record({ do: fc.constant("create"), volume, units, access, pool, from: source })),
  weighted(2, simply("delete")),
  weighted(6, simply("stage")),
  weighted(2, simply("unstage")),
  weighted(6, fc.record({ do: fc.constant("publish"), volume, target, readOnly: fc.nat(4).map((n) => n === 0) })),
  weighted(3, atTarget("unpublish")),
  weighted(6, atTarget("write")),
  weighted(4, simply("read")),
  weighted(1, atTarget("stats")),
  weighted(2, fc.record({ do: fc.constant("expand"), volume, units })),
  weighted(1, simply("node-expand")),
  weighted(1, fc.record({ do: fc.constant("modify"), volume, iops: fc.constantFrom(1, 5_000, 1_000_000) })),
  weighted(4, fc.record({ do: fc.constant("snapshot"), snapshot, volume })),
  weighted(2, fc.record({ do: fc.constant("delete-snapshot"), snapshot })),
  weighted(2, fc.record({ do: fc.constant("group"), volumes: fc.uniqueArray(volume, { minLength: 1, maxLength: 2 }) })),
  weighted(1, fc.record({ do: fc.constant("delete-group") })),
  weighted(1, fc.record({ do: fc.constant("list") })),
);

const death = fc.record<Death>({ steps: fc.integer({ min: 1, max: 14 }), next: fc.constantFrom("repeat", "give-up") });

/** Sequences of so many steps, of which about one in so many ends in a death of the driver. */
export function sequences({ lengthMax, deathEvery }: { lengthMax: number; deathEvery: number }): fc.Arbitrary<Step[]> {
  const rarely = fc.oneof(
    { withCrossShrink: true },
    { weight: deathEvery - 1, arbitrary: fc.constant(undefined) },
    { weight: 1, arbitrary: death },
  );
  const step = fc.record<Step>({ action, death: rarely });
  return fc.array(step, { minLength: 1, maxLength: lengthMax, size: "max" });
}

/** One line, for people. */
export function describeStep({ action: { do: verb, ...fields }, death: end }: Step): string {
  const text = Object.entries(fields).map(([name, value]) => `${name} ${JSON.stringify(value)}`);
  const dying = end === undefined ? "" : `, dying after ${end.steps} steps, then ${end.next}`;
  return `${[verb, ...text].join(" ")}${dying}`;
}
