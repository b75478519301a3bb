import { readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { hasErrno } from "../../errors.js";
import { PoolRegistry } from "../../pools/records/pool-registry.js";
import { volumeMarkNames } from "../../pools/records/volume-mark.js";
import { groupPath } from "../../pools/snapshots/group-files.js";
import { isVolumeId } from "../../pools/volume/volume-id.js";
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

const damageKinds = { image: "image-lost", record: "record-unusable", "no-record": "image-without-record" } as const;

async function volumeFindings({ request, pool, content }: FoundPool): Promise<Finding[]> {
  const basics = { pool: request.name, state: "problem" } as const;
  const findings: Finding[] = content.unusable.map(({ id, reason, damage }) => {
    return { ...basics, kind: damageKinds[damage], id, message: reason, remedy: { kind: "data", of: "volume", id } };
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
  for (const { id, reason, damage } of snapshots.unusable) {
    const remedy = names.includes(id) ? ({ kind: "data", of: "snapshot", id } as const) : undefined;
    const basics = { kind: damageKinds[damage], pool: request.name, id, message: reason, state: "problem" } as const;
    findings.push(remedy === undefined ? basics : { ...basics, remedy });
  }
  for (const id of snapshots.orphans) {
    findings.push(await orphanFinding("snapshot", id, join(pool.directory.snapshotsPath, id), request.name));
  }
  return findings;
}

/** What a crash cut short while it was made or removed. Without an image it holds nothing. */
async function orphanFinding(of: "volume" | "snapshot", id: string, path: string, pool: string): Promise<Finding> {
  const names = await readFolder(path);
  const basics = { pool, id, state: "problem" } as const;
  if (names.includes("image")) {
    const message = `${join(path, "image")} was never finished, or is half removed: the next start of the driver removes it`;
    return { ...basics, kind: "image-unfinished", message, remedy: { kind: "data", of, id } };
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
    const remedy = { kind: "data", of: "snapshot", id } as const;
    const basics = { pool: request.name, id, state: "problem", remedy } as const;
    if (all.some((each) => each.snapshots.unfinishedGroups.some((unfinished) => unfinished.id === group.id))) {
      const message = `its group ${group.id} was never finished, or is half removed: the next start of the driver removes it`;
      findings.push({ ...basics, kind: "group-unfinished", message });
    } else {
      const message = `the record of its group ${group.id} is missing: restore it from a backup, or delete the group`;
      findings.push({ ...basics, kind: "snapshot-without-group", message });
    }
  }
  for (const { id, snapshotIds } of snapshots.groups) {
    const missing = snapshotIds.filter((snapshotId) => !allSnapshots.some((each) => each.id === snapshotId));
    if (missing.length === 0) continue;
    const message = `${groupPath(pool, id)} names ${missing.join(", ")}, which cannot be found: delete the group`;
    findings.push({ kind: "group-incomplete", pool: request.name, id, message, state: "problem" });
  }
  return findings;
}

/** Names that the driver gives to what it has not finished, and no others. */
const helpers = [".share-from", ".share-to"];
const topNames = [...helpers, ...[...helpers, "pool.json"].map(temporaryPathOf)];
const volumeNames = [...volumeMarkNames, "unfinished", "volume.json"].map(temporaryPathOf);
const snapshotNames = ["unfinished", "snapshot.json"].map(temporaryPathOf);

async function temporaryFiles({ request, pool }: FoundPool, stateDir: string): Promise<Finding[]> {
  const { path, volumesPath, snapshotsPath, groupsPath } = pool.directory;
  const paths = await pathsIn(path, (name) => topNames.includes(name));
  paths.push(...(await pathsIn(groupsPath, isTemporaryOfGroup)));
  for (const folder of await foldersIn(volumesPath)) {
    paths.push(...(await pathsIn(folder, (name) => volumeNames.includes(name))));
  }
  for (const folder of await foldersIn(snapshotsPath)) {
    paths.push(...(await pathsIn(folder, (name) => snapshotNames.includes(name))));
  }
  const registration = temporaryPathOf(new PoolRegistry(stateDir).pathOf(request.name));
  if ((await readFolder(dirname(registration))).includes(basename(registration))) paths.push(registration);
  return paths.map((each) => {
    const remedy = { kind: "file", path: each } as const;
    const message = `${each} was left by a crash`;
    return { kind: "temporary-file", pool: request.name, message, state: "problem", remedy };
  });
}

function isTemporaryOfGroup(name: string): boolean {
  const [id = "", ...rest] = name.split(".");
  return isVolumeId(id) && [".json", ".unfinished"].map(temporaryPathOf).includes(`.${rest.join(".")}`);
}

/** The folders of volumes or snapshots, and nothing that a link leads to. A driver may remove each at any moment. */
async function foldersIn(parent: string): Promise<string[]> {
  const entries = await absentAsEmpty(readdir(parent, { withFileTypes: true }));
  return entries.filter((entry) => entry.isDirectory() && isVolumeId(entry.name)).map(({ name }) => join(parent, name));
}

async function pathsIn(folder: string, isWanted: (name: string) => boolean): Promise<string[]> {
  return (await readFolder(folder)).filter(isWanted).map((name) => join(folder, name));
}

async function readFolder(path: string): Promise<string[]> {
  return await absentAsEmpty(readdir(path));
}

async function absentAsEmpty<Entry>(reading: Promise<Entry[]>): Promise<Entry[]> {
  try {
    return await reading;
  } catch (error) {
    if (hasErrno(error, "ENOENT", "ENOTDIR")) return [];
    throw error;
  }
}
