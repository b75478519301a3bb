import { stat } from "node:fs/promises";
import { DriverError, hasErrno } from "../../errors.js";
import type { FileRange, ImageFiles } from "../../system/image-files.js";
import { compareBytes } from "./byte-comparison.js";
import { comparePieces } from "./image-comparison.js";
import { joinRanges, readDataPieces, readPieces, toRange } from "./image-pieces.js";

/** A snapshot whose bytes are all there. */
export interface SnapshotImage {
  id: string;
  path: string;
  sourceVolumeId: string;
  /** The size of the volume at that instant. */
  sizeBytes: bigint;
  /** Where in the image the bytes of the volume begin. */
  dataOffsetBytes: bigint;
}

/** Where to begin in the volume, and when to give up. */
export interface RangeQuery {
  offsetBytes: bigint;
  /** Aborted when nobody wants the answer any more: it then ends with the signal's reason. */
  signal: AbortSignal;
}

type Ranges = AsyncGenerator<FileRange>;

/** Which parts of snapshots hold data, and which differ. Ranges ascend, never overlap, and begin no earlier than asked. */
export class ChangedBlocks {
  constructor(private readonly files: ImageFiles) {}

  /** What may hold other bytes than zeroes. */
  allocated(snapshot: SnapshotImage, { offsetBytes, signal }: RangeQuery): Ranges {
    const range = toImageRange(snapshot, offsetBytes);
    const pieces = readDataPieces({ files: this.files, signal }, snapshot.path, range);
    return explainLoss([snapshot], toVolumeRanges(snapshot, joinRanges(pieces)));
  }

  /**
   * What has to be read from the target to bring a copy of the base up to it, whichever of the two is older. Blocks that
   * both share are left out. Others are compared, unless one of the two shares them with another file: then they were
   * written in between, and are reported without a look at them.
   */
  changed(base: SnapshotImage, target: SnapshotImage, { offsetBytes, signal }: RangeQuery): Ranges {
    assertComparable(base, target);
    const range = toImageRange(target, offsetBytes);
    const differences = this.compare({ basePath: base.path, targetPath: target.path, signal }, range);
    return explainLoss([base, target], toVolumeRanges(target, joinRanges(differences)));
  }

  private async *compare(
    images: { basePath: string; targetPath: string; signal: AbortSignal },
    range: FileRange,
  ): Ranges {
    const { basePath, targetPath, signal } = images;
    const read = (await lieTogether(basePath, targetPath)) ? readPieces : readDataPieces;
    const piecesOf = (path: string) => read({ files: this.files, signal }, path, range);
    yield* compareBytes(images, comparePieces(piecesOf(basePath), piecesOf(targetPath)));
  }
}

function toImageRange({ id, sizeBytes, dataOffsetBytes }: SnapshotImage, offsetBytes: bigint): FileRange {
  if (offsetBytes >= 0n && offsetBytes <= sizeBytes) {
    return toRange(dataOffsetBytes + offsetBytes, dataOffsetBytes + sizeBytes);
  }
  const message = `starting_offset is ${offsetBytes}, and snapshot ${id} has ${sizeBytes} bytes`;
  throw new DriverError("out_of_range", `${message}: begin with 0, or where the last range that was received ends`);
}

function assertComparable(base: SnapshotImage, target: SnapshotImage): void {
  if (base.sourceVolumeId !== target.sourceVolumeId) {
    const ofBase = `snapshot ${base.id} is of volume ${base.sourceVolumeId}`;
    const message = `${ofBase}, and snapshot ${target.id} of volume ${target.sourceVolumeId}`;
    throw new DriverError("invalid", `${message}: name two snapshots of one volume`);
  }
  if (base.dataOffsetBytes === target.dataOffsetBytes) return;
  throw new DriverError("refused", `the images of ${base.id} and ${target.id} differ in layout: make a full backup`);
}

/** On two file systems the same place is not the same block. */
async function lieTogether(basePath: string, targetPath: string): Promise<boolean> {
  const [base, target] = await Promise.all([stat(basePath), stat(targetPath)]);
  return base.dev === target.dev;
}

async function* toVolumeRanges({ dataOffsetBytes }: SnapshotImage, ranges: Ranges): Ranges {
  for await (const { offsetBytes, lengthBytes } of ranges) {
    yield { offsetBytes: offsetBytes - dataOffsetBytes, lengthBytes };
  }
}

/** Says what a file is that was there at first. */
async function* explainLoss(snapshots: readonly SnapshotImage[], ranges: Ranges): Ranges {
  try {
    yield* ranges;
  } catch (cause) {
    if (!hasErrno(cause, "ENOENT")) throw cause;
    const names = snapshots.map(({ id }) => id).join(" or ");
    throw new DriverError("missing", `the image of snapshot ${names} is gone: it was deleted meanwhile`, { cause });
  }
}
