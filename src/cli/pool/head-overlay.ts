import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

/** As much of a file as an overlay has for it. */
export const overlaidBytes = 65_536;

// Clusters of 64 KiB, in the order of the file: a header, the two levels of the table of references, the two of the table
// of what lies where, and the bytes. The first level of that one comes last, because it grows with the file.
const [referencesAt, referenceBlockAt, secondLevelAt, bytesAt, firstLevelAt] = [1, 2, 3, 4, 5].map(
  (cluster) => cluster * overlaidBytes,
) as [number, number, number, number, number];
/** One cluster of the second level has so many entries of 8 bytes. */
const clustersPerEntry = overlaidBytes / 8;
/** Of an entry: nobody else refers to the cluster. */
const isSole = 1n << 63n;

/**
 * A qcow2, by QEMU's docs/interop/qcow2.rst, that has the first bytes of a file of this size and leaves the others to
 * what it is laid over.
 */
export function createHeadOverlay(head: Buffer, fileBytes: bigint): Buffer {
  const entryCount = Math.ceil(Number(fileBytes) / (overlaidBytes * clustersPerEntry));
  const clusterCount = firstLevelAt / overlaidBytes + Math.ceil((entryCount * 8) / overlaidBytes);
  const overlay = Buffer.alloc(clusterCount * overlaidBytes);
  overlay.write("QFI\xfb", "latin1");
  overlay.writeUInt32BE(2, 4);
  overlay.writeUInt32BE(Math.log2(overlaidBytes), 20);
  overlay.writeBigUInt64BE(((fileBytes + 511n) / 512n) * 512n, 24);
  overlay.writeUInt32BE(entryCount, 36);
  overlay.writeBigUInt64BE(BigInt(firstLevelAt), 40);
  overlay.writeBigUInt64BE(BigInt(referencesAt), 48);
  overlay.writeUInt32BE(1, 56);
  overlay.writeBigUInt64BE(BigInt(referenceBlockAt), referencesAt);
  for (let cluster = 0; cluster < clusterCount; cluster++) overlay.writeUInt16BE(1, referenceBlockAt + cluster * 2);
  overlay.writeBigUInt64BE(BigInt(secondLevelAt) | isSole, firstLevelAt);
  overlay.writeBigUInt64BE(BigInt(bytesAt) | isSole, secondLevelAt);
  head.copy(overlay, bytesAt, 0, overlaidBytes);
  return overlay;
}

/** A file that has no name, is gone when it is closed, and lies on the file system of this folder. */
export async function openUnnamed(folder: string, content: Buffer): Promise<FileHandle> {
  // O_TMPFILE, which Node has no name for. It means a directory to kernels that do not know it, and then fails.
  const file = await open(folder, 0o20_000_000 | constants.O_DIRECTORY | constants.O_RDWR, 0o600);
  try {
    await file.write(content, 0, content.length, 0);
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}
