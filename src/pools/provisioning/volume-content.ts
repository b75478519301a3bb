import { setTimeout as sleep } from "node:timers/promises";
import type { BlockDevices } from "../../engine/block-devices.js";
import { DriverError } from "../../errors.js";
import { toOutcome } from "../copies/copy-watch.js";
import type { ImageSource, Replica } from "../copies/replica.js";
import { assertWhole, ImageStillWritten } from "../images/image.js";
import type { Pools } from "../pool/pools.js";
import type { Snapshots } from "../snapshots/open-snapshots.js";
import { explainMismatch } from "../volume/capability-check.js";
import { imageSizeBytesOf } from "../volume/image-size.js";
import type { Content } from "../volume/snapshot.js";
import type { ContentSource, Volume } from "../volume/volume.js";
import { isGivenId } from "../volume/volume-id.js";

/** Does work while nothing else is done that holds one of these keys. */
export type RunLocked = <T>(keys: readonly string[], work: () => Promise<T>) => Promise<T>;

export interface VolumeContentParts extends Snapshots {
  pools: Pools;
  blockDevices: BlockDevices;
  runLocked: RunLocked;
}

/** What a volume can begin with. */
export interface FoundContent extends Content {
  /** Of the source. */
  id: string;
  sizeBytes: bigint;
}

const copyIntervalMs = 100;

/** The contents that new volumes may begin with: those of snapshots and of other volumes. */
export class VolumeContents {
  constructor(private readonly parts: VolumeContentParts) {}

  /**
   * What a source holds. One that may be another node's is `no_space`, upon which Kubernetes lets the scheduler choose that
   * node; one that no node can have is `missing`.
   */
  find(source: ContentSource): FoundContent {
    const { index } = this.parts.store;
    if (source.kind === "volume") {
      const { volumeId } = source;
      if (this.parts.pools.findVolume(volumeId) === undefined) assertNotElsewhere("volume", volumeId);
      return this.contentOfVolume(volumeId);
    }
    const { snapshotId } = source;
    if (index.find(snapshotId) === undefined) assertNotElsewhere("snapshot", snapshotId);
    const { id, sizeBytes, content } = index.get(snapshotId);
    return { id, sizeBytes, ...content };
  }

  /**
   * Makes the image of a volume with all that its source holds. Of a volume that is being written to it is one instant;
   * a snapshot that is not ready yet is waited for. Takes as long as it takes; the source cannot be removed meanwhile.
   * Fails with `busy` when the source has grown since the size of the volume was chosen by it.
   */
  async fill(volume: Volume, source: ContentSource, targetPath: string): Promise<void> {
    const sourceId = source.kind === "volume" ? source.volumeId : source.snapshotId;
    await this.parts.imageUse.during(sourceId, async () => {
      const image =
        source.kind === "volume" ? await this.imageOfVolume(sourceId) : await this.imageOfSnapshot(sourceId);
      const targetPool = this.parts.pools.poolOf(volume);
      // Where thin volumes may take what shared blocks would need, a thick one has its own from the start.
      const isOwnOnly = volume.parameters.provisioning === "thick" && targetPool.isOvercommitted;
      await this.replicate(volume, { source: image, id: volume.id, targetPath, targetPool, isOwnOnly });
    });
  }

  /** Fails with `busy` while something is being made from this volume. */
  assertVolumeUnused(volumeId: string): void {
    const { imageUse, store } = this.parts;
    imageUse.assertUnused("volume", volumeId);
    const copying = store.index.list().find((each) => each.state === "copying" && each.sourceVolumeId === volumeId);
    if (copying === undefined) return;
    const message = `snapshot ${copying.id} is still being copied from volume ${volumeId}: try again when it is ready`;
    throw new DriverError("busy", message);
  }

  private async replicate(volume: Volume, replica: Replica): Promise<void> {
    const { replicator, store, runLocked } = this.parts;
    await store.leftovers.clear([replica.source.id]);
    // Nobody may attach the source between the look whether it has a device and the end of the instant.
    const lockKeys = [`volume ${replica.source.id}`];
    try {
      const { way } = await runLocked(lockKeys, async () => {
        this.assertHolds(volume, replica.source);
        return await replicator.replicate([replica]);
      });
      if (way === "cloned") return;
      await this.waitForCopy(replica.id);
      await replicator.endCopy(replica.id);
    } catch (error) {
      throw await this.giveUp(replica, error);
    }
  }

  // Until its lock is held a source may be deleted, or grow, and its new end would be missing.
  private assertHolds(volume: Volume, { id, sizeBytes }: ImageSource): void {
    const { pools, store } = this.parts;
    const source = volume.contentSource?.kind === "volume" ? pools.getVolume(id) : undefined;
    if (source === undefined) store.index.get(id);
    const neededBytes = source === undefined ? sizeBytes : imageSizeBytesOf(source);
    if (neededBytes === sizeBytes && neededBytes <= imageSizeBytesOf(volume)) return;
    throw new DriverError("busy", `the source ${id} has grown while a volume was being made from it: try again`);
  }

  /** The image stays as long as the engine may write to it. Returns what says so, or the reason as it was given. */
  private async giveUp({ id, source, targetPool }: Replica, reason: unknown): Promise<unknown> {
    const { replicator, store } = this.parts;
    const remove = async () => {
      await replicator.endBegun(id);
      await targetPool.deleteVolume(id);
    };
    return await replicator.endBegun(id).then(
      () => reason,
      (error: unknown) => {
        store.leftovers.add({ id, sourceId: source.id, remove }, error);
        return new ImageStillWritten(reason);
      },
    );
  }

  private async waitForCopy(copyId: string): Promise<void> {
    for (;;) {
      const outcome = toOutcome(await this.parts.blockDevices.findCopy(copyId));
      if (outcome?.state === "done") return;
      if (outcome !== undefined) throw new DriverError("internal", `the copy failed: ${outcome.reason}: try again`);
      await sleep(copyIntervalMs);
    }
  }

  private contentOfVolume(volumeId: string): FoundContent {
    const { id, sizeBytes, capabilities, parameters } = this.parts.pools.getPersistent(volumeId);
    return { id, sizeBytes, capabilities, parameters };
  }

  private async imageOfVolume(volumeId: string): Promise<ImageSource> {
    const volume = this.parts.pools.getVolume(volumeId);
    const pool = this.parts.pools.poolOf(volume);
    const [path, sizeBytes] = [pool.imagePath(volumeId), imageSizeBytesOf(volume)];
    await assertWhole(path, sizeBytes);
    return { id: volumeId, pool, path, sizeBytes };
  }

  private async imageOfSnapshot(snapshotId: string): Promise<ImageSource> {
    const { state, reason, pool: poolName, imageSizeBytes } = await this.parts.store.whenSettled(snapshotId);
    if (state !== "ready") {
      const message = `snapshot ${snapshotId} is not usable: ${reason ?? "its bytes are still being copied"}`;
      throw new DriverError(state === "copying" ? "busy" : "refused", message);
    }
    const pool = this.parts.store.poolNamed(poolName);
    return { id: snapshotId, pool, path: pool.snapshots.imagePath(snapshotId), sizeBytes: imageSizeBytes };
  }
}

function assertNotElsewhere(kind: ContentSource["kind"], id: string): void {
  if (!isGivenId(id)) return;
  const message = `volume_content_source: ${kind} ${id} is not on this node: it lives on another one, or was deleted`;
  throw new DriverError("no_space", `${message}; a volume made from it can only be made where it is`);
}

/** Fails when a volume that is asked for could not be used with what it would begin with. */
export function assertFits(content: FoundContent, asked: Content): void {
  const mismatch = explainMismatch(content, asked.capabilities);
  if (mismatch !== undefined) throw new DriverError("invalid", `volume_content_source: ${mismatch}`);
  const [encrypted, wanted] = [content.parameters.encryption, asked.parameters.encryption];
  if (encrypted !== wanted) {
    const found = `the source has ${encrypted ?? "no"} encryption, and a volume made from it the same`;
    throw new DriverError("invalid", `volume_content_source: ${found}: parameter encryption has to agree`);
  }
  const [has, wants] = [content.parameters.logicalBlockSizeBytes, asked.parameters.logicalBlockSizeBytes];
  if (has === wants) return;
  const message = `the source has logical blocks of ${has} bytes, a volume made from it cannot have ${wants}`;
  throw new DriverError("invalid", `volume_content_source: ${message}`);
}
