import { rm, rmdir, statfs } from "node:fs/promises";
import { join } from "node:path";
import { DriverError, hasErrno } from "../errors.js";
import type { RunCommand } from "../system/command.js";
import { makeDirectoryDurably, syncDirectory, temporaryPathOf } from "../system/files.js";
import { createImage, isOutOfSpace, readAllocatedBytes } from "./image.js";
import { Ledger, type SpaceUsage } from "./ledger.js";
import type { PoolDirectory } from "./pool-directory.js";
import { writeRecord } from "./record-file.js";
import type { Volume } from "./volume.js";
import { VolumeMark, type VolumeMarkName, volumeMarkNames } from "./volume-mark.js";
import { volumeRecordFormat } from "./volume-record.js";

export type PoolKind = "file" | "memory";

export interface PoolSpec {
  name: string;
  kind: PoolKind;
  /** Set for memory pools; a file pool may use its whole file system. */
  budgetBytes?: bigint | undefined;
}

/** One pool: makes and removes volumes on disk, and keeps the ledger of what they hold. */
export class Pool {
  readonly ledger: Ledger;

  constructor(
    readonly spec: PoolSpec,
    readonly directory: PoolDirectory,
    private readonly runCommand: RunCommand,
  ) {
    this.ledger = new Ledger(spec.name);
  }

  get name(): string {
    return this.spec.name;
  }

  imagePath(volumeId: string): string {
    return join(this.volumePath(volumeId), "image");
  }

  /** Bytes that a new volume could have. */
  async readAvailableBytes(): Promise<bigint> {
    return this.ledger.availableBytes(await this.readUsage());
  }

  /** Makes image, then record. After a failure nothing of the volume is left. */
  async createVolume(volume: Volume): Promise<void> {
    this.ledger.reserve(volume.id, volume.sizeBytes, await this.readUsage());
    try {
      await this.createFiles(volume);
    } catch (cause) {
      this.ledger.release(volume.id);
      if (!isOutOfSpace(cause)) throw cause;
      throw new DriverError("no_space", `pool ${this.name} is full: ${volume.sizeBytes} bytes do not fit`, { cause });
    }
  }

  /** Removes record, then image, so that a crash leaves at most an orphan image. */
  async deleteVolume(volumeId: string): Promise<void> {
    await this.removeFiles(volumeId);
    this.ledger.release(volumeId);
  }

  mark(volumeId: string, name: VolumeMarkName): VolumeMark {
    return new VolumeMark(join(this.volumePath(volumeId), name));
  }

  recordPath(volumeId: string): string {
    return join(this.volumePath(volumeId), "volume.json");
  }

  volumePath(volumeId: string): string {
    return join(this.directory.volumesPath, volumeId);
  }

  // The directory comes first and outside of the clean-up: one that exists already belongs to another volume.
  private async createFiles(volume: Volume): Promise<void> {
    const { id, sizeBytes, parameters } = volume;
    await makeDirectoryDurably(this.volumePath(id));
    try {
      const { provisioning } = parameters;
      await createImage({ path: this.imagePath(id), sizeBytes, provisioning }, this.runCommand);
      await writeRecord(this.recordPath(id), volumeRecordFormat, volume);
    } catch (error) {
      await this.removeFiles(id);
      throw error;
    }
  }

  // Names every file it removes: anything else in the directory makes rmdir fail, and stays.
  private async removeFiles(volumeId: string): Promise<void> {
    const path = this.volumePath(volumeId);
    try {
      await rm(this.recordPath(volumeId), { force: true });
      await rm(temporaryPathOf(this.recordPath(volumeId)), { force: true });
      await syncDirectory(path);
      for (const { path: markPath } of volumeMarkNames.map((name) => this.mark(volumeId, name))) {
        await rm(markPath, { force: true });
        await rm(temporaryPathOf(markPath), { force: true });
      }
      await rm(this.imagePath(volumeId), { force: true });
      await rmdir(path);
    } catch (error) {
      if (!hasErrno(error, "ENOENT")) throw error;
    }
    await syncDirectory(this.directory.volumesPath);
  }

  // What is outstanding is read before what is free: an image allocated in between is then counted twice, not never.
  private async readUsage(): Promise<SpaceUsage> {
    const outstandingBytes = await this.readOutstandingBytes();
    const { bavail, blocks, bsize } = await statfs(this.directory.path, { bigint: true });
    const freeBytes = bavail * bsize;
    return { limitBytes: this.spec.budgetBytes ?? blocks * bsize, freeBytes, outstandingBytes };
  }

  private async readOutstandingBytes(): Promise<bigint> {
    let sum = 0n;
    for (const [volumeId, sizeBytes] of this.ledger.entries()) {
      const missingBytes = sizeBytes - (await readAllocatedBytes(this.imagePath(volumeId)));
      if (missingBytes > 0n) sum += missingBytes;
    }
    return sum;
  }
}
