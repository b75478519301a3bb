import { readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { hasErrno } from "../../errors.js";
import { PoolRegistry } from "../../pools/pool-registry.js";
import { groupPath } from "../../pools/snapshot-groups.js";
import { temporaryPathOf } from "../../system/files.js";
import type { Finding } from "./finding.js";
import { type AbsentPool, type FoundPool, isFound } from "./found-pool.js";

/** What is wrong in the pools themselves. */
export async function findPoolFindings(
  candidates: ReadonlyArray<FoundPool | AbsentPool>,
  stateDir: string,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  const found = candidates.filter(isFound);
  for (const { request, directory, fault } of candidates) {
    if (fault === undefined) continue;
    findings.push({
      kind: "pool-unavailable",
      pool: request.name,
      message: `${directory}: ${fault}`,
      state: "problem",
    });
  }
  for (const each of found) {
    // First, so that a repair finds the folders empty that had only these.
    findings.push(...(await temporaryFiles(each, stateDir)));
    findings.push(...(await volumeFindings(each)), ...(await snapshotFindings(each)), ...groupFindings(each, found));
  }
  return findings;
}

async function volumeFindings({ request, pool, content }: FoundPool): Promise<Finding[]> {
  const basics = { pool: request.name, state: "problem" } as const;
  const findings: Finding[] = content.unusable.map(({ id, reason, hasLostBytes }) => {
    const kind = hasLostBytes ? "image-lost" : "record-unusable";
    return { ...basics, kind, id, message: reason, remedy: { kind: "data", of: "volume", id } };
  });
  for (const id of content.orphans) findings.push(await orphanFinding("volume", id, pool.volumePath(id), request.name));
  for (const name of content.strangers) {
    const message = `${join(pool.directory.volumesPath, name)} is not a volume: look what it is`;
    findings.push({ kind: "stranger", pool: request.name, message, state: "note" });
  }
  for (const { id, growingToBytes } of content.volumes) {
    if (growingToBytes === undefined) continue;
    const message = `was growing to ${growingToBytes} bytes: the next start of the driver takes it back`;
    findings.push({ kind: "growth-unfinished", pool: request.name, id, message, state: "note" });
  }
  return findings;
}

async function snapshotFindings({ request, pool, snapshots }: FoundPool): Promise<Finding[]> {
  const findings: Finding[] = [];
  const names = await readFolder(pool.directory.snapshotsPath);
  for (const { id, reason } of snapshots.unusable) {
    const remedy = names.includes(id) ? ({ kind: "data", of: "snapshot", id } as const) : undefined;
    const basics = { kind: "record-unusable", pool: request.name, id, message: reason, state: "problem" } as const;
    findings.push(remedy === undefined ? basics : { ...basics, remedy });
  }
  for (const id of snapshots.orphans) {
    findings.push(await orphanFinding("snapshot", id, join(pool.directory.snapshotsPath, id), request.name));
  }
  return findings;
}

/** A folder without a record: with an image it may hold data, without one it does not. */
async function orphanFinding(of: "volume" | "snapshot", id: string, path: string, pool: string): Promise<Finding> {
  const names = await readFolder(path);
  const basics = { pool, id, state: "problem" } as const;
  if (names.includes("image")) {
    const message = `${join(path, "image")} has no record: the next start of the driver removes it, or --remove ${id}`;
    return { ...basics, kind: "image-without-record", message, remedy: { kind: "data", of, id } };
  }
  const message = `${path} has neither record nor image`;
  return { ...basics, kind: "empty-folder", message, remedy: { kind: "folder", of, id } };
}

function groupFindings({ request, pool, snapshots }: FoundPool, all: readonly FoundPool[]): Finding[] {
  const findings: Finding[] = [];
  const allSnapshots = all.flatMap((each) => each.snapshots.snapshots);
  const allGroups = all.flatMap((each) => [...each.snapshots.groups, ...each.snapshots.unusable]);
  for (const { id, group } of snapshots.snapshots) {
    if (group === undefined || allGroups.some((each) => each.id === group.id)) continue;
    if (!all.some(({ record }) => record.uuid === group.poolUuid)) continue;
    const message = `its group ${group.id} has no record: it was never finished, and the next start of the driver removes it`;
    const remedy = { kind: "data", of: "snapshot", id } as const;
    findings.push({ kind: "snapshot-without-group", pool: request.name, id, message, state: "problem", remedy });
  }
  for (const { id, snapshotIds } of snapshots.groups) {
    const missing = snapshotIds.filter((snapshotId) => !allSnapshots.some((each) => each.id === snapshotId));
    if (missing.length === 0) continue;
    const message = `${groupPath(pool, id)} names ${missing.join(", ")}, which cannot be found: delete the group`;
    findings.push({ kind: "group-incomplete", pool: request.name, id, message, state: "problem" });
  }
  return findings;
}

const helpers = [".share-from", ".share-to"];

async function temporaryFiles({ request, pool }: FoundPool, stateDir: string): Promise<Finding[]> {
  const { path, volumesPath, snapshotsPath, groupsPath } = pool.directory;
  const folders = [path, groupsPath];
  for (const parent of [volumesPath, snapshotsPath]) {
    for (const name of await readFolder(parent)) folders.push(join(parent, name));
  }
  const paths: string[] = [];
  for (const folder of folders) {
    const names = (await readFolder(folder)).filter((name) => isTemporary(name, folder === path));
    paths.push(...names.map((name) => join(folder, name)));
  }
  const registration = temporaryPathOf(new PoolRegistry(stateDir).pathOf(request.name));
  if ((await readFolder(dirname(registration))).includes(basename(registration))) paths.push(registration);
  return paths.map((each) => {
    const remedy = { kind: "file", path: each } as const;
    const message = `${each} was left by a crash`;
    return { kind: "temporary-file", pool: request.name, message, state: "problem", remedy };
  });
}

/** Names that the driver gives to what it has not finished writing, and no others. */
function isTemporary(name: string, isTop: boolean): boolean {
  if (isTop) return helpers.includes(name) || name === "pool.json.tmp" || helpers.includes(name.replace(/\.tmp$/, ""));
  return /^[a-z0-9-]+(\.json)?\.tmp$/.test(name);
}

async function readFolder(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if (hasErrno(error, "ENOENT", "ENOTDIR")) return [];
    throw error;
  }
}
