import { truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { mountPoolDisk, type PoolPlace } from "./pool-place.js";

/** Images on the guest's scratch disk, with a file system as pools have it: direct I/O and holes. */
export class ImageDirectory {
  private count = 0;

  private constructor(private readonly place: PoolPlace) {}

  static async create(): Promise<ImageDirectory> {
    return new ImageDirectory(await mountPoolDisk("/run/ublk-images"));
  }

  get path(): string {
    return this.place.path;
  }

  /** A sparse file of its own name. */
  async createImage(sizeBytes: number, directory = this.path): Promise<string> {
    const path = join(directory, `image-${++this.count}`);
    await writeFile(path, "");
    await truncate(path, sizeBytes);
    return path;
  }

  async destroy(): Promise<void> {
    await this.place.release();
  }
}
