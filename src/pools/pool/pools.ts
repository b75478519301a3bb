import { DriverError } from "../../errors.js";
import type { Logger } from "../../log.js";
import type { FillImage } from "../images/image.js";
import type { UnfinishedMark } from "../records/unfinished-mark.js";
import type { Volume } from "../volume/volume.js";
import { isVolumeId } from "../volume/volume-id.js";
import type { Pool } from "./pool.js";
import { findPoolFault } from "./pool-presence.js";
import { scanPool, type UnusableVolume } from "./pool-scan.js";

/** Every pool of this node, and the volumes in them by id and by name. */
export class Pools {
  private readonly volumesById = new Map<string, Volume>();
  private readonly idsByName = new Map<string, string>();
  private readonly unusable = new Map<string, UnusableVolume>();
  private readonly orphans: Array<{ pool: Pool; id: string }> = [];
  private readonly needlessMarks: UnfinishedMark[] = [];

  private constructor(
    private readonly pools: readonly Pool[],
    private readonly logger: Logger,
  ) {}

  /** Reads all records. Bad ones are logged and kept aside; the rest of the volumes work. */
  static async load(opened: readonly Pool[], logger: Logger): Promise<Pools> {
    assertDistinct(opened);
    const pools = new Pools(opened, logger.child({ component: "pools" }));
    for (const pool of opened) await pools.loadPool(pool);
    return pools;
  }

  get names(): string[] {
    return this.pools.map((pool) => pool.name);
  }

  /** In the order given at start. */
  get all(): readonly Pool[] {
    return this.pools;
  }

  /** The named pool, or the node's first one. */
  find(name: string | undefined): Pool | undefined {
    return name === undefined ? this.pools[0] : this.pools.find((pool) => pool.name === name);
  }

  /** Undefined for an unknown id; a volume with an unusable record is an error that says what is wrong with it. */
  findVolume(id: string): Volume | undefined {
    const unusable = this.unusable.get(id);
    if (unusable !== undefined) throw new DriverError("refused", `volume ${id} cannot be used: ${unusable.reason}`);
    return this.volumesById.get(id);
  }

  getVolume(id: string): Volume {
    const volume = this.findVolume(id);
    if (volume !== undefined) return volume;
    const known = isVolumeId(id) ? "was deleted, or lives on another node" : "is not an id that this driver gives";
    throw new DriverError("missing", `volume "${id}" does not exist on this node: it ${known}`);
  }

  /**
   * A volume that a controller call may work on. An inline volume is `refused`: its pod's author has it within the bounds of
   * the administrator, and it is made, changed and removed by its publication alone.
   */
  getPersistent(id: string): Volume {
    return assertPersistent(this.getVolume(id));
  }

  /** The usable volume of this id, without complaint about unusable ones. */
  peekVolume(id: string): Volume | undefined {
    return this.volumesById.get(id);
  }

  /** What is wrong with the volume of this id, if its record or image cannot be used. */
  findUnusable(id: string): UnusableVolume | undefined {
    return this.unusable.get(id);
  }

  listUnusable(): UnusableVolume[] {
    return [...this.unusable.values()];
  }

  findVolumeByName(name: string): Volume | undefined {
    const id = this.idsByName.get(name);
    return id === undefined ? undefined : this.volumesById.get(id);
  }

  /** All usable volumes that a controller call made, in the order of their ids. */
  listVolumes(): Volume[] {
    return this.listAll().filter((volume) => volume.ephemeral === undefined);
  }

  /** All usable inline volumes, in the order of their ids. */
  listEphemeral(): Volume[] {
    return this.listAll().filter((volume) => volume.ephemeral !== undefined);
  }

  poolOf(volume: Volume): Pool {
    const pool = this.find(volume.pool);
    if (pool === undefined) throw new Error(`bug: volume ${volume.id} was loaded from unknown pool ${volume.pool}`);
    return pool;
  }

  /** `fill` makes an image that begins with something. */
  async createVolume(volume: Volume, fill?: FillImage): Promise<void> {
    await this.poolOf(volume).createVolume(volume, fill);
    this.index(volume);
  }

  /** Grows a volume on disk. Its device, if it has one, stays as large as it was. */
  async growVolume(volume: Volume, toBytes: bigint): Promise<Volume> {
    return await this.poolOf(volume).growVolume(volume, toBytes, (each) => this.index(each));
  }

  /** Replaces the record of a volume that exists. */
  async updateVolume(volume: Volume): Promise<void> {
    await this.poolOf(volume).writeVolume(volume);
    this.index(volume);
  }

  /** Takes back the growths that a crash has cut short. Nobody was told of them, and whoever asked will ask again. */
  async undoGrowths(): Promise<void> {
    for (const volume of this.listVolumes().filter(({ growingToBytes }) => growingToBytes !== undefined)) {
      const { id: volumeId, pool } = volume;
      await this.poolOf(volume)
        .undoGrowth(volume)
        .then(
          (restored) => {
            this.index(restored);
            this.logger.warn({ volumeId, pool }, "growth that a crash had cut short taken back");
          },
          (err: unknown) => this.logger.error({ volumeId, pool, err }, "growth that was cut short not taken back"),
        );
    }
  }

  /** The index forgets the volume last, so that a deletion that fails half-way can be repeated. */
  async deleteVolume(volume: Volume): Promise<void> {
    await this.poolOf(volume).deleteVolume(volume.id);
    this.volumesById.delete(volume.id);
    if (this.idsByName.get(volume.name) === volume.id) this.idsByName.delete(volume.name);
  }

  /**
   * Removes the images that a crash cut short, except those that a device serves or might serve. `release` ends what else
   * may write to one: a copy into it that was never finished.
   */
  async collectOrphans(
    volumeIdsWithDevice: ReadonlySet<string>,
    release: (id: string) => Promise<void> = async () => undefined,
  ): Promise<void> {
    for (const mark of this.needlessMarks.splice(0)) await mark.clear();
    for (const { pool, id } of this.orphans.splice(0)) {
      if (volumeIdsWithDevice.has(id)) {
        this.logger.warn({ volumeId: id, pool: pool.name }, "unfinished volume is in use by a device, kept");
        continue;
      }
      const removeOrphan = async () => {
        await release(id);
        await pool.deleteVolume(id);
      };
      await removeOrphan().then(
        () => this.logger.warn({ volumeId: id, pool: pool.name }, "unfinished volume removed"),
        (error: unknown) => this.logger.error({ volumeId: id, err: error }, "unfinished volume not removed"),
      );
    }
  }

  /** Fails when a pool is not what it was at start, for example because its disk was unmounted. */
  async checkHealth(): Promise<void> {
    for (const pool of this.pools) {
      const fault = await findPoolFault(pool);
      if (fault !== undefined) throw new DriverError("refused", fault);
    }
  }

  private async loadPool(pool: Pool): Promise<void> {
    const { volumes, unusable, orphans, marked, strangers } = await scanPool(pool);
    for (const id of marked) this.needlessMarks.push(pool.unfinishedMark(id));
    for (const volume of volumes) this.index(volume);
    for (const id of orphans) this.orphans.push({ pool, id });
    for (const volume of unusable) {
      const { id, reason } = volume;
      this.unusable.set(id, volume);
      this.logger.error({ volumeId: id, pool: pool.name, reason }, "volume cannot be used, left as it is");
    }
    for (const name of strangers) {
      this.logger.warn({ pool: pool.name, path: `${pool.directory.volumesPath}/${name}` }, "not a volume, ignored");
    }
    this.logger.info({ pool: pool.name, volumeCount: volumes.length }, "pool open");
  }

  private listAll(): Volume[] {
    return [...this.volumesById.values()].sort((left, right) => (left.id < right.id ? -1 : 1));
  }

  // Nobody asks for an inline volume by name, and a claim that happens to have that name must not get it.
  private index(volume: Volume): void {
    this.volumesById.set(volume.id, volume);
    if (volume.ephemeral === undefined) this.idsByName.set(volume.name, volume.id);
  }
}

/** Fails for an inline volume; see `Pools.getPersistent`. */
export function assertPersistent(volume: Volume): Volume {
  const { id, ephemeral } = volume;
  if (ephemeral === undefined) return volume;
  const pod = `${ephemeral.podNamespace}/${ephemeral.podName}`;
  const message = `volume ${id} is an inline volume of pod ${pod}: it is its pod's alone, and goes when the pod is deleted`;
  throw new DriverError("refused", message);
}

/** No pool may be another one, or lie inside it: its bytes would be counted twice and its files be two owners'. */
function assertDistinct(pools: readonly Pool[]): void {
  for (const [position, pool] of pools.entries()) {
    for (const other of pools.slice(position + 1)) {
      const paths = `${pool.directory.path} and ${other.directory.path}`;
      if (pool.directory.uuid === other.directory.uuid) {
        throw new DriverError(
          "refused",
          `pools ${pool.name} and ${other.name} are the same pool (${paths}): name it once`,
        );
      }
      if (isInside(pool.directory.path, other.directory.path) || isInside(other.directory.path, pool.directory.path)) {
        const message = `of the pools ${pool.name} and ${other.name} one lies inside the other (${paths})`;
        throw new DriverError("refused", `${message}: choose separate directories`);
      }
    }
  }
}

function isInside(path: string, parent: string): boolean {
  return path.startsWith(`${parent}/`);
}
