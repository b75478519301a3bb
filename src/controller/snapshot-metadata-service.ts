import { DriverError } from "../errors.js";
import {
  type BlockMetadata,
  BlockMetadataType,
  type GetMetadataAllocatedResponse,
  type SnapshotMetadataServer,
} from "../gen/csi/csi.js";
import type { ChangedBlocks, SnapshotImage } from "../pools/images/changed-blocks.js";
import type { Handlers } from "../rpc/handler.js";
import { requireField } from "../rpc/required.js";
import type { FileRange } from "../system/image-files.js";

/** What one message holds at most: it stays far below the size that gRPC's clients take. */
const rangesMax = 1024;

export interface SnapshotMetadataDependencies {
  changedBlocks: ChangedBlocks;
  /** Throws for a snapshot that is unknown, or whose bytes are not all there. */
  getSnapshotImage: (snapshotId: string) => SnapshotImage;
}

/** Both questions are answered in the same form. */
type Answer = GetMetadataAllocatedResponse;

/** The RPCs that tell a backup which parts of a snapshot it has to read. */
export function createSnapshotMetadataService({
  changedBlocks,
  getSnapshotImage,
}: SnapshotMetadataDependencies): Handlers<SnapshotMetadataServer> {
  return {
    getMetadataAllocated: async function* ({ snapshotId, startingOffset, maxResults }, { signal }) {
      const countMax = toCountMax(maxResults);
      const snapshot = getSnapshotImage(requireField("snapshot_id", snapshotId));
      const ranges = changedBlocks.allocated(snapshot, { offsetBytes: startingOffset, signal });
      yield* toAnswers(ranges, snapshot.sizeBytes, countMax);
    },
    getMetadataDelta: async function* ({ baseSnapshotId, targetSnapshotId, startingOffset, maxResults }, { signal }) {
      const countMax = toCountMax(maxResults);
      const base = getSnapshotImage(requireField("base_snapshot_id", baseSnapshotId));
      const target = getSnapshotImage(requireField("target_snapshot_id", targetSnapshotId));
      const ranges = changedBlocks.changed(base, target, { offsetBytes: startingOffset, signal });
      yield* toAnswers(ranges, target.sizeBytes, countMax);
    },
  };
}

function toCountMax(maxResults: number): number {
  if (maxResults < 0) throw new DriverError("invalid", `max_results is ${maxResults}, it must not be negative`);
  return maxResults === 0 ? rangesMax : Math.min(maxResults, rangesMax);
}

/** A snapshot without ranges has one message nevertheless, for the capacity in it. */
async function* toAnswers(
  ranges: AsyncIterable<FileRange>,
  volumeCapacityBytes: bigint,
  countMax: number,
): AsyncGenerator<Answer> {
  const toAnswer = (blockMetadata: BlockMetadata[]): Answer => {
    return { blockMetadataType: BlockMetadataType.VARIABLE_LENGTH, volumeCapacityBytes, blockMetadata };
  };
  let isFirst = true;
  let waiting: BlockMetadata[] = [];
  for await (const { offsetBytes, lengthBytes } of ranges) {
    waiting.push({ byteOffset: offsetBytes, sizeBytes: lengthBytes });
    if (waiting.length < countMax) continue;
    yield toAnswer(waiting);
    isFirst = false;
    waiting = [];
  }
  if (isFirst || waiting.length > 0) yield toAnswer(waiting);
}
