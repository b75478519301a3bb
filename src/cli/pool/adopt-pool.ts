import { stat } from "node:fs/promises";
import { join } from "node:path";
import { FileJournal } from "../../engine/journal/journal.js";
import { DriverError } from "../../errors.js";
import { assignPool } from "../../pools/records/pool-directory.js";
import { PoolRegistry } from "../../pools/records/pool-registry.js";
import { ConfigError } from "../values.js";
import { type FoundPool, findPool, isFound } from "./found-pool.js";
import { toPersistentVolume, toYaml } from "./persistent-volume.js";
import type { AdoptCommand, PoolPlace } from "./pool-command.js";
import { withLocks } from "./pool-locks.js";
import type { PoolOutcome, PoolParts } from "./pool-outcome.js";

type Adoption = AdoptCommand & { place: PoolPlace };

/** Makes a pool this node's, under the name that the command line gives it. May be repeated. */
export async function adoptPool(adoption: Adoption, parts: PoolParts): Promise<PoolOutcome> {
  const { place } = adoption;
  const { nodeId } = place;
  if (nodeId === undefined) throw new ConfigError("--node-id is required: give the flag, or set NODE_ID");
  const { directory } = await getPool(adoption, parts);
  return await withLocks({ stateDir: place.stateDir, poolPaths: [directory] }, async () => {
    const found = await getPool(adoption, parts);
    const { request, record } = found;
    const registry = new PoolRegistry(place.stateDir);
    const registered = await registry.find(request.name);
    if (registered !== undefined && registered !== record.uuid && !adoption.replace)
      throw stoodForAnother(found, registered);
    await assertNotServed(found, { ...place, ...parts });
    await assignPool(directory, nodeId);
    await registry.remember(request.name, record.uuid);
    return toOutcome(found, { ...place, nodeId }, registered);
  });
}

async function getPool({ poolName, place }: Adoption, parts: PoolParts): Promise<FoundPool> {
  const request = place.pools.find(({ name }) => name === poolName);
  if (request === undefined) throw new Error(`bug: pool ${poolName} was not checked to be known`);
  if (request.kind === "memory") {
    throw new DriverError("refused", `pool ${poolName} is in memory: it ends with a reboot, and cannot move`);
  }
  const found = await findPool(request, place, parts);
  if (isFound(found)) return found;
  throw new DriverError("refused", `pool ${poolName}: ${found.directory}: ${found.fault}`);
}

function stoodForAnother({ request, record, directory }: FoundPool, registered: string): DriverError {
  const message = `pool ${request.name}: ${directory} holds pool ${record.uuid}, but this name stood for ${registered}`;
  const remedy = "mount the disk of that one, choose another name, or give --replace to forget it";
  return new DriverError("refused", `${message}: ${remedy}`);
}

type Served = Pick<PoolPlace, "stateDir"> & Pick<PoolParts, "sysfs">;

/** A device goes on with the file that it opened: from another path the driver would not take it for the volume's. */
async function assertNotServed({ request, pool, content }: FoundPool, { stateDir, sysfs }: Served): Promise<void> {
  const ids = new Set(content.volumes.map(({ id }) => id));
  const { entries } = await new FileJournal(join(stateDir, "engine", "devices")).readAll();
  for (const { volumeId, deviceId, image } of entries.filter((entry) => ids.has(entry.volumeId))) {
    if (image.path === pool.imagePath(volumeId)) continue;
    const isServed = await stat(`${sysfs}/class/block/ublkb${deviceId}`).then(
      () => true,
      () => false,
    );
    if (!isServed) continue;
    const message = `pool ${request.name}: /dev/ublkb${deviceId} serves volume ${volumeId} from ${image.path}`;
    throw new DriverError("refused", `${message}: end its pods and unstage it first`);
  }
}

function toOutcome(
  found: FoundPool,
  place: PoolPlace & { nodeId: string },
  registered: string | undefined,
): PoolOutcome {
  const { request, record, directory, content } = found;
  const { nodeId } = place;
  const volumes = content.volumes.filter(({ ephemeral }) => ephemeral === undefined);
  const json = {
    name: request.name,
    uuid: record.uuid,
    directory,
    nodeId,
    was: { nodeId: record.nodeId ?? null, poolUuid: registered ?? null },
    persistentVolumes: volumes.map((volume) => toPersistentVolume(volume, place)),
    encryptedVolumeIds: volumes.filter(({ parameters }) => parameters.encryption).map(({ id }) => id),
  };
  const manifests = volumes.map((volume) => toYaml(volume, place));
  return { exitCode: 0, json, text: toText(found, nodeId, manifests) };
}

function toText(
  { request, record, directory, content, snapshots }: FoundPool,
  nodeId: string,
  manifests: readonly string[],
): string {
  const before = record.nodeId === undefined || record.nodeId === nodeId ? "" : ` (before: ${record.nodeId})`;
  const counts = `${content.volumes.length} volumes, ${snapshots.snapshots.length} snapshots`;
  const line = `# pool ${request.name} (${record.uuid}) at ${directory} is node ${nodeId}'s${before}: ${counts}\n`;
  if (manifests.length === 0) return line;
  const advice =
    "# PersistentVolumes that name another node have to be replaced by these, which have the class and the\n";
  const rest = "# reclaim policy of volumes that somebody made by hand: copy those from the former ones.\n";
  return `${line}${advice}${rest}${manifests.join("---\n")}`;
}
