import type { Addon, CopyHandle, NativeCopySpec, NativeCopyStatus } from "./addon.js";

/** What to copy, and where to keep how far it got. */
export type ImageCopyOptions = NativeCopySpec;
export type ImageCopyStatus = NativeCopyStatus;

/** A copy of an image as it was at one instant, made while a device over it is used. */
export class UblkImageCopy {
  constructor(
    private readonly addon: Addon,
    /** For the library alone. */
    readonly handle: CopyHandle,
  ) {}

  status(): ImageCopyStatus {
    return this.addon.readCopy(this.handle);
  }

  /** Leaves the rest to another process, once the devices over the image are released: what waits goes on waiting. */
  async pause(): Promise<void> {
    await this.addon.pauseCopy(this.handle);
  }

  /** Ends it for good, and lets go on what waits for it. The target is worthless then. */
  async cancel(): Promise<void> {
    await this.addon.cancelCopy(this.handle);
  }
}
