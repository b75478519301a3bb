import type { AdoptionEntry } from "../block-devices.js";
import type { EngineLogger } from "../logger.js";
import { formatPlan, type PlanRow } from "./reconciliation-plan.js";

/**
 * Logs what start-up found and did: a table for people, each of whose lines has its facts as fields too, and those of
 * `findServing` about a device that is served now.
 */
export function logOutcome(
  logger: EngineLogger,
  plan: readonly PlanRow[],
  outcomes: readonly AdoptionEntry[],
  findServing: (volumeId: string) => Record<string, unknown> | undefined,
): void {
  const rows = plan.map((row) => withOutcome(row, outcomes));
  const [heading, ...lines] = formatPlan(rows);
  const title = rows.length === 0 ? "no device of ours, and none of anybody else" : heading;
  logger.info({}, `start-up: ${title}`);
  rows.forEach((row, position) => {
    const { volumeId, deviceId, journal, kernel, action } = row;
    const level = action === "failed" ? "error" : "info";
    const serving = volumeId === undefined ? undefined : findServing(volumeId);
    logger[level]({ ...serving, volumeId, deviceId, journal, kernel, action }, `start-up: ${lines[position]}`);
  });
}

function withOutcome(row: PlanRow, outcomes: readonly AdoptionEntry[]): PlanRow {
  const outcome = outcomes.find(({ volumeId }) => volumeId === row.volumeId);
  if (outcome === undefined) return row;
  const { action, reason, deviceId = row.deviceId } = outcome;
  return { ...row, action, reason, deviceId };
}
