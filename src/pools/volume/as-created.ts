import type { AsCreated, Volume } from "./volume.js";

/** What a volume had when it was made, for a record that is about to say something else. */
export function toCreated({ asCreated, sizeBytes, limits }: Volume): AsCreated {
  return asCreated ?? { sizeBytes, limits };
}
