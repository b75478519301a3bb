import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { CopyRecords } from "../../engine/journal/copy-records.js";
import { FileJournal } from "../../engine/journal/journal.js";
import { DriverError, toMessage } from "../../errors.js";
import type { Pool } from "../../pools/pool/pool.js";
import { syncDirectory } from "../../system/files.js";
import type { Finding, Remedy } from "./finding.js";
import { type AbsentPool, type FoundPool, isFound } from "./found-pool.js";
import type { CheckCommand, PoolPlace } from "./pool-command.js";

/** Does what the command allows about findings, and says of each what came of it. Drivers have to be kept away. */
export async function repairFindings(
  findings: readonly Finding[],
  { place, repair, removeIds }: CheckCommand & { place: PoolPlace },
  candidates: ReadonlyArray<FoundPool | AbsentPool>,
): Promise<Finding[]> {
  for (const id of removeIds) await assertRemovable(id, findings, place);
  const repaired: Finding[] = [];
  for (const finding of findings) {
    const { remedy, pool: poolName } = finding;
    const isWanted = remedy?.kind === "data" ? removeIds.includes(remedy.id) : repair;
    if (remedy === undefined || !isWanted) {
      repaired.push(finding);
      continue;
    }
    const found = candidates.filter(isFound).find(({ request }) => request.name === poolName);
    repaired.push(await attempt(finding, () => apply(remedy, found?.pool)));
  }
  return repaired;
}

/** Before anything is changed: only what is damaged may go, and nothing that an engine still writes to. */
async function assertRemovable(id: string, findings: readonly Finding[], { stateDir }: PoolPlace): Promise<void> {
  if (!findings.some(({ remedy }) => remedy?.kind === "data" && remedy.id === id)) {
    const message = `--remove ${id}: nothing is wrong with it, or it is not there`;
    throw new DriverError("refused", `${message}: what is well is deleted by Kubernetes. Nothing was changed`);
  }
  const engine = join(stateDir, "engine");
  const { entries, problems } = await new FileJournal(join(engine, "devices")).readAll();
  const hasDevice = [...entries, ...problems].some(({ volumeId }) => volumeId === id);
  const copies = await new CopyRecords(join(engine, "copies")).list();
  if (!hasDevice && ![...copies.known, ...copies.orphans].includes(id)) return;
  const what = hasDevice ? "a device" : "a copy";
  throw new DriverError("refused", `--remove ${id}: the engine has ${what} of it: end that first. Nothing was changed`);
}

async function apply(remedy: Remedy, pool: Pool | undefined): Promise<void> {
  if (remedy.kind === "file") {
    await rm(remedy.path, { force: true });
    await syncDirectory(dirname(remedy.path));
    return;
  }
  // Both name every file that they remove: whatever else lies there makes them fail, and stays.
  if (remedy.of === "volume") await pool?.deleteVolume(remedy.id);
  else await pool?.deleteSnapshot(remedy.id);
}

async function attempt(finding: Finding, work: () => Promise<void>): Promise<Finding> {
  try {
    await work();
    return { ...finding, state: finding.remedy?.kind === "data" ? "removed" : "repaired" };
  } catch (error) {
    return { ...finding, message: `${finding.message}; not repaired: ${toMessage(error)}` };
  }
}
