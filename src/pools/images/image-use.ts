import { DriverError } from "../../errors.js";

/** Which images are being read to make others from, so that nobody removes them meanwhile. */
export class ImageUse {
  private readonly counts = new Map<string, number>();

  /** Does the work while nobody removes this image. */
  async during<T>(imageId: string, work: () => Promise<T>): Promise<T> {
    this.counts.set(imageId, (this.counts.get(imageId) ?? 0) + 1);
    try {
      return await work();
    } finally {
      const left = (this.counts.get(imageId) ?? 1) - 1;
      if (left === 0) this.counts.delete(imageId);
      else this.counts.set(imageId, left);
    }
  }

  /** Fails with `busy` while a volume is being made from this image. */
  assertUnused(what: string, imageId: string): void {
    if (!this.counts.has(imageId)) return;
    throw new DriverError("busy", `a volume is being made from ${what} ${imageId}: try again when that is done`);
  }
}
