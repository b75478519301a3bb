import type { FileExtent, FileRange, ImageFiles, Page } from "../../system/image-files.js";
import { maxBytes, minBytes } from "../volume/bytes.js";

/** A part of an image that may hold other bytes than zeroes. */
export interface Piece extends FileRange {
  /**
   * The place on the disk of a piece whose blocks other files have as well. Two images of one file system with the same
   * place hold the same bytes; a place that is nobody else's says nothing, and is left out.
   */
  sharedPlaceBytes?: bigint | undefined;
}

/** What reads images, until it is told to stop: the reading then fails with the signal's reason. */
export interface ImageReader {
  files: ImageFiles;
  signal: AbortSignal;
}

/** The pieces of an image within a range, ascending, and by way of the extents where there are such. */
export async function* readPieces(reader: ImageReader, path: string, range: FileRange): AsyncGenerator<Piece> {
  let rest: FileRange | undefined = range;
  while (rest !== undefined) {
    reader.signal.throwIfAborted();
    const page: Page<FileExtent> | "unsupported" = await reader.files.readExtents(path, rest);
    if (page === "unsupported") return yield* readDataPieces(reader, path, rest);
    for (const extent of page.entries) if (!extent.isUnwritten) yield* clip(toPiece(extent), rest);
    rest = restAfter(rest, page.nextBytes);
  }
}

/** As `readPieces`, without places, on any file system. */
export async function* readDataPieces(reader: ImageReader, path: string, range: FileRange): AsyncGenerator<Piece> {
  let rest: FileRange | undefined = range;
  while (rest !== undefined) {
    reader.signal.throwIfAborted();
    const page: Page<FileRange> = await reader.files.readDataRanges(path, rest);
    yield* page.entries;
    rest = restAfter(rest, page.nextBytes);
  }
}

export function endOf({ offsetBytes, lengthBytes }: FileRange): bigint {
  return offsetBytes + lengthBytes;
}

export function toRange(offsetBytes: bigint, endBytes: bigint): FileRange {
  return { offsetBytes, lengthBytes: endBytes - offsetBytes };
}

/** Makes one of ranges that adjoin. */
export async function* joinRanges(ranges: AsyncIterable<FileRange>): AsyncGenerator<FileRange> {
  let joined: FileRange | undefined;
  for await (const range of ranges) {
    if (joined !== undefined && endOf(joined) === range.offsetBytes) {
      joined = toRange(joined.offsetBytes, endOf(range));
      continue;
    }
    if (joined !== undefined) yield joined;
    joined = range;
  }
  if (joined !== undefined) yield joined;
}

function restAfter(range: FileRange, nextBytes: bigint | undefined): FileRange | undefined {
  return nextBytes === undefined || nextBytes >= endOf(range) ? undefined : toRange(nextBytes, endOf(range));
}

function toPiece({ logicalBytes, lengthBytes, physicalBytes, isShared, isPlaced }: FileExtent): Piece {
  const sharedPlaceBytes = isShared && isPlaced ? physicalBytes : undefined;
  return { offsetBytes: logicalBytes, lengthBytes, sharedPlaceBytes };
}

// Extents may begin before the range, and end behind it.
function clip(piece: Piece, range: FileRange): Piece[] {
  const start = maxBytes(piece.offsetBytes, range.offsetBytes);
  const end = minBytes(endOf(piece), endOf(range));
  if (start >= end) return [];
  const { sharedPlaceBytes } = piece;
  const place = sharedPlaceBytes === undefined ? undefined : sharedPlaceBytes + (start - piece.offsetBytes);
  return [{ ...toRange(start, end), sharedPlaceBytes: place }];
}
