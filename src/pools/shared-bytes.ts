import type { ImageFiles } from "../system/image-files.js";

/**
 * Bytes of an image whose blocks other files have too. When one of them is overwritten it takes new blocks, so these have
 * to be kept free for it. 0 where the file system cannot share blocks.
 */
export async function readSharedBytes(imageFiles: ImageFiles, path: string): Promise<bigint> {
  let sharedBytes = 0n;
  let offsetBytes: bigint | undefined = 0n;
  while (offsetBytes !== undefined) {
    const page = await imageFiles.readExtents(path, { offsetBytes, lengthBytes: wholeFileBytes - offsetBytes });
    if (page === "unsupported") return 0n;
    for (const { isShared, lengthBytes } of page.entries) if (isShared) sharedBytes += lengthBytes;
    offsetBytes = page.nextBytes;
  }
  return sharedBytes;
}

/** Beyond the end of any file. */
const wholeFileBytes = 2n ** 62n;
