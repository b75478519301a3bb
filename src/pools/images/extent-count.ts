import type { ImageFiles } from "../../system/image-files.js";

/** Whether these files have more extents than that together. Looks no further than it has to, and writes nothing out. */
export async function hasMoreExtents(
  files: Pick<ImageFiles, "peekExtents">,
  paths: readonly string[],
  countMax: number,
): Promise<boolean> {
  let count = 0;
  for (const path of paths) {
    let offsetBytes: bigint | undefined = 0n;
    while (offsetBytes !== undefined && count <= countMax) {
      const page = await files.peekExtents(path, { offsetBytes, lengthBytes: wholeFileBytes - offsetBytes });
      if (page === "unsupported") break;
      count += page.entries.length;
      offsetBytes = page.nextBytes;
    }
  }
  return count > countMax;
}

/** Beyond the end of any file. */
const wholeFileBytes = 2n ** 62n;
