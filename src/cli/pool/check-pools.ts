import { findDeviceFindings } from "./device-findings.js";
import { besideDriver, type Finding, isSame } from "./finding.js";
import { type AbsentPool, type FoundPool, findPools, isFound } from "./found-pool.js";
import type { CheckCommand, PoolPlace } from "./pool-command.js";
import { findPoolFindings } from "./pool-findings.js";
import { isLocked, withLocks } from "./pool-locks.js";
import type { PoolOutcome, PoolParts } from "./pool-outcome.js";
import { repairFindings } from "./pool-repair.js";

type Check = CheckCommand & { place: PoolPlace };

/**
 * Looks for what is wrong in pools and around them. Without `repair` and `removeIds` it changes nothing and may run beside
 * a driver; what that may be making or removing at this moment is then told as a note.
 */
export async function checkPools(check: Check, parts: PoolParts): Promise<PoolOutcome> {
  const { place, repair, removeIds } = check;
  const candidates = await findPools(place, parts);
  if (!repair && removeIds.length === 0) {
    const isRunning = await isDriverRunning(candidates, place);
    const findings = await findAll(candidates, place, parts);
    return toOutcome(isRunning ? await confirm(findings.map(besideDriver), place, parts) : findings, isRunning);
  }
  return await withLocks({ stateDir: place.stateDir, poolPaths: filePools(candidates) }, async () => {
    const locked = await findPools(place, parts);
    return toOutcome(await repairFindings(await findAll(locked, place, parts), check, locked), false);
  });
}

/**
 * What a driver changes between two steps of a look, as an image and then its record, looks like damage; a second look,
 * which begins when the first has ended, does not find it again.
 */
async function confirm(findings: readonly Finding[], place: PoolPlace, parts: PoolParts): Promise<Finding[]> {
  if (findings.every(({ state }) => state !== "problem")) return [...findings];
  const again = await findAll(await findPools(place, parts), place, parts);
  return findings.filter((finding) => finding.state !== "problem" || again.some((each) => isSame(each, finding)));
}

async function findAll(
  candidates: ReadonlyArray<FoundPool | AbsentPool>,
  place: PoolPlace,
  parts: PoolParts,
): Promise<Finding[]> {
  return [
    ...(await findPoolFindings(candidates, place.stateDir)),
    ...(await findDeviceFindings(candidates, place, parts)),
  ];
}

async function isDriverRunning(
  candidates: ReadonlyArray<FoundPool | AbsentPool>,
  { stateDir }: PoolPlace,
): Promise<boolean> {
  for (const directory of [stateDir, ...filePools(candidates)]) if (await isLocked(directory)) return true;
  return false;
}

function filePools(candidates: ReadonlyArray<FoundPool | AbsentPool>): string[] {
  const found = candidates.filter(isFound);
  return found.flatMap(({ request, directory }) => (request.kind === "file" ? [directory] : []));
}

function toOutcome(findings: readonly Finding[], isRunning: boolean): PoolOutcome {
  const count = (state: Finding["state"]) => findings.filter((finding) => finding.state === state).length;
  const counts = { problems: count("problem"), notes: count("note"), repaired: count("repaired") + count("removed") };
  const lines = findings.map(({ state, kind, pool, id, message }) => {
    const where = [pool, id].filter((part) => part !== undefined).join(" ");
    return `${state}: ${kind}${where === "" ? "" : ` (${where})`}: ${message}\n`;
  });
  if (isRunning) lines.push("a driver is running: notes may be of what it does at this moment\n");
  lines.push(`${counts.problems} problems, ${counts.notes} notes, ${counts.repaired} repaired\n`);
  const plain = findings.map(({ remedy, ...finding }) => ({ ...finding, isRemovable: remedy?.kind === "data" }));
  return {
    exitCode: counts.problems === 0 ? 0 : 1,
    json: { ...counts, isDriverRunning: isRunning, findings: plain },
    text: lines.join(""),
  };
}
