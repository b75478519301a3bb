import { open } from "node:fs/promises";
import type { ImageCopy, ImageCopySpec } from "./block-devices.js";
import { BlockDeviceError } from "./block-devices.js";

const pieceBytes = 1024 * 1024;

/** Copies of images without a device, for as long as this process lives. */
export class PlainCopies {
  private readonly copies = new Map<string, { copy: ImageCopy; isEnded: boolean }>();

  start(specs: readonly ImageCopySpec[]): void {
    for (const spec of specs) if (!this.copies.has(spec.copyId)) this.startOne(spec);
  }

  find(copyId: string): ImageCopy | undefined {
    return this.copies.get(copyId)?.copy;
  }

  end(copyId: string): void {
    const known = this.copies.get(copyId);
    if (known) known.isEnded = true;
    this.copies.delete(copyId);
  }

  private startOne(spec: ImageCopySpec): void {
    const { copyId, volumeId, sizeBytes: totalBytes } = spec;
    const entry = {
      copy: { copyId, volumeId, state: "copying", copiedBytes: 0n, totalBytes } as ImageCopy,
      isEnded: false,
    };
    this.copies.set(copyId, entry);
    this.run(spec, entry).catch((error: unknown) => {
      entry.copy = { ...entry.copy, state: "failed", reason: String(error) };
    });
  }

  private async run({ source, targetPath, sizeBytes }: ImageCopySpec, entry: { copy: ImageCopy; isEnded: boolean }) {
    await using from = await open(source.path, "r");
    await using to = await open(targetPath, "r+");
    const piece = Buffer.alloc(pieceBytes);
    for (let offset = 0; offset < Number(sizeBytes) && !entry.isEnded; offset += pieceBytes) {
      const { bytesRead } = await from.read(piece, 0, Math.min(pieceBytes, Number(sizeBytes) - offset), offset);
      if (bytesRead === 0) throw new BlockDeviceError("image_missing", `image ${source.path} ends at ${offset}`);
      const bytes = piece.subarray(0, bytesRead);
      if (bytes.some((byte) => byte !== 0)) await to.write(bytes, 0, bytesRead, offset);
      entry.copy = { ...entry.copy, copiedBytes: BigInt(offset + bytesRead) };
    }
    await to.sync();
    entry.copy = { ...entry.copy, state: "done" };
  }
}
