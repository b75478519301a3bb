import { rm, rmdir, statfs } from "node:fs/promises";
import { join } from "node:path";
import { DriverError, hasErrno } from "../../errors.js";
import type { Logger } from "../../log.js";
import type { RunCommand } from "../../system/command.js";
import { makeDirectoryDurably, syncDirectory, temporaryPathOf } from "../../system/files.js";
import type { ImageFiles } from "../../system/image-files.js";
import { toBookedBytes, toSizeBytes } from "../capacity/booking.js";
import { Ledger, type SpaceUsage } from "../capacity/ledger.js";
import { PoolPromises, type PromisedBytes, type PromisesFreshness } from "../capacity/pool-promises.js";
import { defaultPoolSettings, type PoolSettings, toReservedBytes } from "../capacity/pool-settings.js";
import { SpaceAccount } from "../capacity/space-account.js";
import { createImage, cutImage, type FillImage, growImage, ImageStillWritten, isOutOfSpace } from "../images/image.js";
import { SharedBytes } from "../images/shared-bytes.js";
import type { PoolDirectory } from "../records/pool-directory.js";
import { readRecord, writeRecord } from "../records/record-file.js";
import { SnapshotFolder } from "../records/snapshot-folder.js";
import { UnfinishedMark } from "../records/unfinished-mark.js";
import { VolumeMark, type VolumeMarkName, volumeMarkNames } from "../records/volume-mark.js";
import { volumeRecordFormat } from "../records/volume-record.js";
import { toCreated } from "../volume/as-created.js";
import { maxBytes } from "../volume/bytes.js";
import { imageSizeBytesOf } from "../volume/image-size.js";
import type { Provisioning, Volume } from "../volume/volume.js";

export type PoolKind = "file" | "memory";

export interface PoolSpec {
  name: string;
  kind: PoolKind;
  /** Set for memory pools; a file pool may use its whole file system. */
  budgetBytes?: bigint | undefined;
  /** What is left out is `defaultPoolSettings`. */
  settings?: Partial<PoolSettings> | undefined;
}

/** How much room a pool has, whoever uses it. */
export interface PoolSpace {
  sizeBytes: bigint;
  freeBytes: bigint;
}

export interface PoolParts {
  runCommand: RunCommand;
  imageFiles: ImageFiles;
  /** Shared by the pools of one file system; left out for a pool that has one for itself. */
  account?: SpaceAccount | undefined;
  /** Left out where nobody reads it. */
  logger?: Logger | undefined;
}

/** How old what is known of shared blocks may be where it is looked at every few seconds. */
const sharedAgeMsInDemand = 60_000;

/** How old what images occupy may be in an estimate: somewhat more than the time from one look at the demand to the next. */
const allocatedAgeMsInEstimate = 15_000;

/** One pool: makes and removes volumes on disk, and keeps the ledger of what they hold. */
export class Pool {
  readonly ledger: Ledger;
  readonly settings: PoolSettings;
  readonly snapshots: SnapshotFolder;
  private readonly promises: PoolPromises;
  private readonly account: SpaceAccount;
  private readonly runCommand: RunCommand;

  constructor(
    readonly spec: PoolSpec,
    readonly directory: PoolDirectory,
    { runCommand, imageFiles, account = new SpaceAccount(), logger }: PoolParts,
  ) {
    this.runCommand = runCommand;
    this.ledger = new Ledger(spec.name);
    this.snapshots = new SnapshotFolder(directory.snapshotsPath);
    this.settings = { ...defaultPoolSettings, ...spec.settings };
    this.promises = new PoolPromises({
      sharedBytes: spec.kind === "memory" ? undefined : new SharedBytes(imageFiles),
      imagePathOf: (id) => this.imagePath(id),
      snapshotPathOf: (id) => this.snapshots.imagePath(id),
      onUnreadable: (path, reason) =>
        logger?.error({ pool: spec.name, path, reason }, "image cannot be looked at, and counts with its whole size"),
    });
    this.account = account;
    const readPromises = (freshness: PromisesFreshness) => this.promises.read(this.ledger.entries(), freshness);
    account.join({ overcommit: this.settings.overcommit, readPromises });
  }

  get name(): string {
    return this.spec.name;
  }

  imagePath(volumeId: string): string {
    return join(this.volumePath(volumeId), "image");
  }

  /** Bytes that a new volume could have: thin ones more than thick ones where the pool is over-committed. */
  async readAvailableBytes(provisioning: Provisioning = "thick"): Promise<bigint> {
    return this.toAvailableBytes(await this.readUsage(), provisioning);
  }

  /**
   * As `readAvailableBytes`, for those who ask often and promise nothing by it: what images occupy may have been read some
   * seconds ago. What was written to thin volumes since then counts twice for so long.
   */
  async estimateAvailableBytes(provisioning: Provisioning): Promise<bigint> {
    return this.toAvailableBytes(await this.readUsage(allocatedAgeMsInEstimate), provisioning);
  }

  /** Whether thin volumes may take more of the file system than is booked for them, those of other pools there included. */
  get isOvercommitted(): boolean {
    return this.account.isOvercommitted;
  }

  /** What a volume takes of the ledger: its image, or less for thin volumes of an over-committed pool. */
  bookedBytesOf(volume: Pick<Volume, "sizeBytes" | "parameters">): bigint {
    const { provisioning } = volume.parameters;
    return toBookedBytes(imageSizeBytesOf(volume), { provisioning, overcommit: this.settings.overcommit });
  }

  /** As `df` has it: what only root may take of a file system is no room. A memory pool's size is its budget. */
  async readSpace(): Promise<PoolSpace> {
    const { blocks, bfree, bavail, bsize } = await statfs(this.directory.path, { bigint: true });
    const usedBytes = (blocks - bfree) * bsize;
    const sizeBytes = this.spec.budgetBytes ?? usedBytes + bavail * bsize;
    return { sizeBytes, freeBytes: maxBytes(sizeBytes - usedBytes, 0n) };
  }

  /**
   * Bytes that images may yet take: what thin volumes have not written, and blocks that are copied once they are written
   * to. A pool that is full of thick volumes owes nothing. With those of other pools on the same file system.
   */
  async readDemandBytes(): Promise<bigint> {
    return (await this.readPromises({ sharedAgeMsMax: sharedAgeMsInDemand })).demandBytes;
  }

  /**
   * Makes image, then record; `fill` makes an image that begins with something. A failure leaves nothing of the volume, but
   * of an `ImageStillWritten` everything, booked: then whoever filled it removes the volume.
   */
  async createVolume(volume: Volume, fill?: FillImage): Promise<void> {
    await this.book((usage) => {
      this.ledger.reserve(volume.id, this.bookedBytesOf(volume), usage);
      // Already now: what a clone shares has to be kept free from its first moment on.
      this.promises.noteVolume(volume);
    });
    try {
      await this.createFiles(volume, fill);
      this.bookVolume(volume);
    } catch (cause) {
      if (cause instanceof ImageStillWritten) throw this.explainFull(cause.reason, volume.sizeBytes);
      this.ledger.release(volume.id);
      this.promises.noteRemoval(volume.id);
      throw this.explainFull(cause, volume.sizeBytes);
    }
  }

  /** Books a volume that exists, whether it fits or not. */
  bookVolume(volume: Volume): void {
    this.ledger.record(volume.id, this.bookedBytesOf(volume));
    this.promises.noteVolume(volume);
  }

  /** Books what a snapshot holds of the pool, whether it fits or not. */
  bookSnapshot(snapshotId: string, sizeBytes: bigint, sourceVolumeId?: string): void {
    this.promises.noteSnapshot(snapshotId, sourceVolumeId);
    this.ledger.record(snapshotId, sizeBytes);
  }

  /** Others have the blocks of this volume or snapshot from now on. */
  noteShared(id: string): void {
    this.promises.noteChange(id);
  }

  /** Books what a new snapshot may hold, or fails before anything was made. */
  async reserveSnapshot(snapshotId: string, sizeBytes: bigint, sourceVolumeId: string): Promise<void> {
    await this.book((usage) => this.ledger.reserve(snapshotId, sizeBytes, usage));
    this.promises.noteSnapshot(snapshotId, sourceVolumeId);
  }

  /** Removes a snapshot's record, then its image, and gives back its bytes. */
  async deleteSnapshot(snapshotId: string): Promise<void> {
    await this.snapshots.remove(snapshotId);
    this.ledger.release(snapshotId);
    this.promises.noteRemoval(snapshotId);
  }

  /**
   * Gives a volume's image a larger size, and then its record; returns what the record says now. After a failure the
   * volume is as it was, or is marked as growing, which a repeated call finishes and the next start takes back. `note` is
   * told what holds before the image becomes larger than the record says, and after each step.
   */
  async growVolume(volume: Volume, toBytes: bigint, note: (volume: Volume) => void): Promise<Volume> {
    const bookedBytes = this.bookedBytesOf({ ...volume, sizeBytes: toBytes });
    await this.book((usage) => {
      this.ledger.grow(volume.id, bookedBytes, usage);
      this.promises.noteChange(volume.id);
    });
    const growing = { ...volume, growingToBytes: toBytes };
    const grown = { ...volume, sizeBytes: toBytes, growingToBytes: undefined, asCreated: toCreated(volume) };
    // Whoever writes the record from now on writes one that allows for a larger image.
    note(growing);
    try {
      await this.writeVolume(growing);
      await this.growImage(growing, imageSizeBytesOf(grown));
      await this.writeVolume(grown);
    } catch (cause) {
      // What cannot be undone now is taken back at the next start, or finished by a repetition.
      await this.undoGrowth(growing).then(note, () => undefined);
      throw this.explainFull(cause, toBytes);
    }
    this.promises.noteVolume(grown);
    note(grown);
    return grown;
  }

  /**
   * Takes back a growth that did not reach the record's size. Returns what the record says now. A record that did become
   * larger, though writing it failed at its end, stays with its image as it is.
   */
  async undoGrowth(volume: Volume): Promise<Volume> {
    const { id } = volume;
    const recorded = await readRecord(this.recordPath(id), volumeRecordFormat);
    if (recorded.sizeBytes !== volume.sizeBytes) {
      this.bookVolume(recorded);
      throw new DriverError("internal", `volume ${id} has ${recorded.sizeBytes} bytes by its record, which stay`);
    }
    await cutImage(this.imagePath(id), imageSizeBytesOf(volume));
    const restored = { ...volume, growingToBytes: undefined };
    // Whether or not the record can be written: the image has no more than this.
    this.bookVolume(restored);
    await this.writeVolume(restored);
    return restored;
  }

  /** Replaces the record of a volume that exists. */
  async writeVolume(volume: Volume): Promise<void> {
    await writeRecord(this.recordPath(volume.id), volumeRecordFormat, volume).catch((cause: unknown) => {
      if (!isOutOfSpace(cause)) throw cause;
      const message = `pool ${this.name} is full: the record of volume ${volume.id} does not fit`;
      throw new DriverError("no_space", message, { cause });
    });
  }

  /** The record first becomes the mark of what is being removed, so that the next start finishes what a crash cuts short. */
  async deleteVolume(volumeId: string): Promise<void> {
    await this.removeFiles(volumeId);
    this.ledger.release(volumeId);
    this.promises.noteRemoval(volumeId);
  }

  mark(volumeId: string, name: VolumeMarkName): VolumeMark {
    return new VolumeMark(join(this.volumePath(volumeId), name));
  }

  unfinishedMark(volumeId: string): UnfinishedMark {
    return new UnfinishedMark(this.recordPath(volumeId), join(this.volumePath(volumeId), "unfinished"));
  }

  recordPath(volumeId: string): string {
    return join(this.volumePath(volumeId), "volume.json");
  }

  volumePath(volumeId: string): string {
    return join(this.directory.volumesPath, volumeId);
  }

  private async growImage(volume: Volume, toBytes: bigint): Promise<void> {
    const { provisioning } = volume.parameters;
    const fromBytes = imageSizeBytesOf(volume);
    await growImage({ path: this.imagePath(volume.id), fromBytes, toBytes, provisioning }, this.runCommand);
  }

  private async book(entry: (usage: SpaceUsage) => void): Promise<void> {
    await this.account.inTurn(async () => entry(await this.readUsage()));
  }

  private explainFull(cause: unknown, sizeBytes: bigint): unknown {
    if (!isOutOfSpace(cause)) return cause;
    return new DriverError("no_space", `pool ${this.name} is full: ${sizeBytes} bytes do not fit`, { cause });
  }

  // The directory comes first and outside of the clean-up: one that exists already belongs to another volume.
  private async createFiles(volume: Volume, fill?: FillImage): Promise<void> {
    const { id, parameters } = volume;
    await makeDirectoryDurably(this.volumePath(id));
    try {
      const unfinished = this.unfinishedMark(id);
      await unfinished.set();
      const { provisioning } = parameters;
      const sizeBytes = imageSizeBytesOf(volume);
      await createImage({ path: this.imagePath(id), sizeBytes, provisioning, fill }, this.runCommand);
      await this.writeVolume(volume);
      await unfinished.clear();
    } catch (error) {
      if (!(error instanceof ImageStillWritten)) await this.removeFiles(id);
      throw error;
    }
  }

  // Names every file it removes: anything else in the directory makes rmdir fail, and stays.
  private async removeFiles(volumeId: string): Promise<void> {
    const path = this.volumePath(volumeId);
    try {
      await this.unfinishedMark(volumeId).replaceRecord();
      for (const { path: markPath } of volumeMarkNames.map((name) => this.mark(volumeId, name))) {
        await rm(markPath, { force: true });
        await rm(temporaryPathOf(markPath), { force: true });
      }
      await rm(this.imagePath(volumeId), { force: true });
      await this.unfinishedMark(volumeId).clear();
      await rmdir(path);
    } catch (error) {
      if (!hasErrno(error, "ENOENT")) throw error;
    }
    await syncDirectory(this.directory.volumesPath);
  }

  private toAvailableBytes(usage: SpaceUsage, provisioning: Provisioning): bigint {
    return toSizeBytes(this.ledger.availableBytes(usage), { provisioning, overcommit: this.settings.overcommit });
  }

  // What is outstanding is read before what is free: an image allocated in between is then counted twice, not never.
  private async readUsage(allocatedAgeMsMax = 0): Promise<SpaceUsage> {
    const { outstandingBytes } = await this.readPromises({ allocatedAgeMsMax });
    const { bavail, blocks, bsize } = await statfs(this.directory.path, { bigint: true });
    const sizeBytes = this.spec.budgetBytes ?? blocks * bsize;
    const keptBytes = toReservedBytes(this.settings.reserve, sizeBytes);
    return { limitBytes: sizeBytes - keptBytes, freeBytes: bavail * bsize - keptBytes, outstandingBytes };
  }

  private async readPromises(ages: Omit<PromisesFreshness, "freeBytes">): Promise<PromisedBytes> {
    const { bavail, bsize } = await statfs(this.directory.path, { bigint: true });
    return await this.account.readPromises({ ...ages, freeBytes: bavail * bsize });
  }
}
