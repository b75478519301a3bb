import { DriverError } from "../errors.js";
import type { Pools } from "../pools/pool/pools.js";
import type { VolumeMark } from "../pools/records/volume-mark.js";
import type { AccessMode, Volume } from "../pools/volume/volume.js";
import type { MountEntry } from "../system/mountinfo.js";

const soleMode: AccessMode = "SINGLE_NODE_SINGLE_WRITER";

/**
 * Fails when a volume that is published may not be published a second time: for a single writer that is so whichever of the
 * two came first. `others` are the volume's publications now. Without any, the mode of this one is noted for those to come,
 * because no mount tells it.
 */
export async function assertMayPublish(
  volume: Volume,
  { accessMode, others, pools }: { accessMode: AccessMode; others: readonly MountEntry[]; pools: Pools },
): Promise<void> {
  const mark = pools.poolOf(volume).mark(volume.id, "sole-publication");
  const [other] = others;
  if (other === undefined) return await note(volume, mark, accessMode);
  if (accessMode !== soleMode && !isMadeForOne(volume) && !(await mark.isSet())) return;
  const message = `volume ${volume.id} is published at ${other.mountPoint}`;
  throw new DriverError("refused", `${message}, and access mode ${soleMode} allows one place only: unpublish it first`);
}

async function note(volume: Volume, mark: VolumeMark, accessMode: AccessMode): Promise<void> {
  const isSole = accessMode === soleMode && !isMadeForOne(volume);
  if (isSole === (await mark.isSet())) return;
  await (isSole ? mark.set() : mark.clear());
}

// As every ReadWriteOncePod claim is. Nothing needs to be written for those.
function isMadeForOne({ capabilities }: Volume): boolean {
  return capabilities.every(({ accessMode }) => accessMode === soleMode);
}
