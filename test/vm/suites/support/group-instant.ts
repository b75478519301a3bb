import { readSequence, SequenceWriter } from "./sequence-writer.js";
import type { SnapshotCalls } from "./snapshot-calls.js";
import type { TestVolume } from "./test-volume.js";
import { waitFor } from "./wait-for.js";

/**
 * Makes groups of published block volumes under one writer that goes from member to member, and fails unless each group
 * holds a first part of what was written, as long as the writer was while the group was made.
 */
export async function checkGroupInstants(
  calls: SnapshotCalls,
  members: readonly TestVolume[],
  { rounds, imageOf }: { rounds: number; imageOf: (snapshotId: string) => string },
): Promise<void> {
  const ids = members.map(({ id }) => id);
  const writer = new SequenceWriter(members.map(({ targetPath }) => targetPath));
  for (let round = 1; round <= rounds; round++) {
    const before = writer.written;
    await waitFor("the writer gets on", () => writer.written > before + 100);
    const from = writer.written;
    await calls.createGroup(`group-${round}`, ids);
    const to = writer.written + 1;
    const group = await calls.createGroupReady(`group-${round}`, ids);
    const memberOf = (id: string) => group.snapshots.find(({ sourceVolumeId }) => sourceVolumeId === id);
    const length = await readSequence(ids.map((id) => imageOf(memberOf(id)?.snapshotId ?? "")));
    if (length < from || length > to) throw new Error(`has ${length} blocks, and ${from} to ${to} were written`);
    await calls.deleteGroup(group);
  }
  await writer.stop();
}
