/**
 * `full` is every case; `smoke` passes once over every feature, for kernels that run in slow emulation. Set by
 * `UBLK_SUITE`.
 */
export const scale = readScale(process.env.UBLK_SUITE ?? "full");

/** The value for the scale at hand. */
export function byScale<T>(values: { full: T; smoke: T }): T {
  return values[scale];
}

function readScale(text: string): "full" | "smoke" {
  if (text === "full" || text === "smoke") return text;
  throw new Error(`UBLK_SUITE is "${text}", expected "full" or "smoke"`);
}

/** Defines cases of the full scale only: those that say little about one kernel that they do not say about another. */
export function onlyInFull(define: () => void): void {
  if (scale === "full") define();
}
