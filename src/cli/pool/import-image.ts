import { DriverError } from "../../errors.js";
import { createSilentLogger } from "../../log.js";
import { chooseSizeBytes } from "../../pools/parameters/capacity-range.js";
import { parseVolumeParameters } from "../../pools/parameters/parameters.js";
import { Pools } from "../../pools/pool/pools.js";
import { fsTypes, type Volume, type VolumeCapability } from "../../pools/volume/volume.js";
import { createVolumeId } from "../../pools/volume/volume-id.js";
import { isAtOrBelow } from "../../system/mountinfo.js";
import { ConfigError } from "../values.js";
import { type FoundPool, findPools, isFound } from "./found-pool.js";
import { resolveGiven } from "./given-path.js";
import { unpackImage } from "./image-transfer.js";
import { toPersistentVolume, toYaml } from "./persistent-volume.js";
import type { ImportCommand, PoolPlace } from "./pool-command.js";
import { withLocks } from "./pool-locks.js";
import type { PoolOutcome, PoolParts } from "./pool-outcome.js";
import { SourceImage } from "./source-image.js";

type Import = ImportCommand & { place: PoolPlace };

/**
 * Makes a volume from an image file. The record is written last: a crash leaves at most an image without one, which
 * `pool check` shows and the next start of the driver removes.
 */
export async function importImage(order: Import, parts: PoolParts): Promise<PoolOutcome> {
  const { nodeId } = order.place;
  if (nodeId === undefined) throw new ConfigError("--node-id is required: give the flag, or set NODE_ID");
  const found = await getPools(order.place, parts);
  const source = await SourceImage.open(await resolveGiven(order.sourcePath), order.format);
  try {
    assertOutside(source, found);
    const poolPaths = found.flatMap(({ request, directory }) => (request.kind === "file" ? [directory] : []));
    return await withLocks({ stateDir: order.place.stateDir, poolPaths }, async () => {
      // What is booked is read again now that nobody else books.
      const pools = await Pools.load(toPools(await getPools(order.place, parts)), createSilentLogger());
      return toOutcome(await create(order, { source, pools, parts }), order, nodeId);
    });
  } finally {
    await source.close();
  }
}

function toOutcome(volume: Volume, { place, storageClassName }: Import, nodeId: string): PoolOutcome {
  const where = { ...place, nodeId, storageClassName };
  const persistentVolume = toPersistentVolume(volume, where);
  const json = { volumeId: volume.id, pool: volume.pool, sizeBytes: volume.sizeBytes, persistentVolume };
  return { exitCode: 0, json, text: `# volume ${volume.id} in pool ${volume.pool}\n${toYaml(volume, where)}` };
}

// A name is unique on a node, and the bytes of a pool that is not there cannot be counted.
async function getPools(place: PoolPlace, parts: PoolParts): Promise<FoundPool[]> {
  return (await findPools(place, parts)).flatMap((candidate) => {
    const { request, directory, fault } = candidate;
    if (isFound(candidate) && fault === undefined) return [candidate];
    if (request.kind === "memory") return [];
    throw new DriverError("refused", `pool ${request.name}: ${directory}: ${fault}`);
  });
}

function toPools(found: readonly FoundPool[]) {
  return found.map(({ pool }) => pool);
}

function assertOutside({ facts: { path } }: SourceImage, found: readonly FoundPool[]): void {
  const inside = found.find(({ directory }) => isAtOrBelow(path, directory));
  if (inside === undefined) return;
  const message = `${path} lies in pool ${inside.request.name}`;
  throw new DriverError("refused", `${message}: export it, and import what that makes`);
}

interface Means {
  source: SourceImage;
  pools: Pools;
  parts: PoolParts;
}

async function create(order: Import, { source, pools, parts }: Means): Promise<Volume> {
  const { name, provisioning, poolName } = order;
  const pool = pools.find(poolName ?? order.place.pools[0]?.name);
  if (pool === undefined) throw new DriverError("refused", "the pool is not there: start the driver, which makes it");
  if (pools.findVolumeByName(name) !== undefined) {
    throw new DriverError("conflict", `volume "${name}" exists: give another --name`);
  }
  const parameters = { ...parseVolumeParameters({ provisioning }), pool: pool.name };
  // What an image holds is known once it is unpacked, and the record, which has these, is written after that.
  const capabilities: VolumeCapability[] = [];
  const wanted = { requiredBytes: order.sizeBytes ?? source.facts.sizeBytes };
  const rules = { ...parameters, capabilities, contentBytes: source.facts.sizeBytes };
  const volume: Volume = {
    id: createVolumeId(),
    name,
    sizeBytes: chooseSizeBytes(wanted, rules),
    pool: pool.name,
    parameters,
    capabilities,
    isImported: true,
    createdAt: new Date().toISOString(),
  };
  await pools.createVolume(volume, async (path) => {
    await unpackImage(source, path, parts);
    await source.assertUnchanged();
    capabilities.push(await chooseCapability(order, path, parts));
  });
  return volume;
}

async function chooseCapability(
  { access, sourcePath }: Import,
  imagePath: string,
  { filesystems }: PoolParts,
): Promise<VolumeCapability> {
  const block = { accessType: "block", accessMode: "SINGLE_NODE_WRITER" } as const;
  if (access === "block") return block;
  const content = await filesystems.probe(imagePath);
  const fsType = fsTypes.find((known) => known === content);
  if (fsType !== undefined) return { accessType: "mount", accessMode: "SINGLE_NODE_WRITER", fsType, mountFlags: [] };
  if (access === undefined) return block;
  const message = `${sourcePath} holds ${content ?? "nothing"}, and a mount needs one of ${fsTypes.join(", ")}`;
  throw new DriverError("refused", `${message}: give --access block`);
}
