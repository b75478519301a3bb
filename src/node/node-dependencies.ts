import type { Logger } from "../log.js";
import type { Pools } from "../pools/pool/pools.js";
import type { Filesystems } from "./filesystems/filesystems.js";
import type { Mounter } from "./mounts/mounter.js";
import type { VolumeDevices } from "./volume-devices.js";
import type { VolumeTrimmer } from "./volume-trimmer.js";

/** What everything that a node does with a volume is made from. */
export interface NodeDependencies {
  pools: Pools;
  devices: VolumeDevices;
  mounter: Mounter;
  filesystems: Filesystems;
  trimmer: VolumeTrimmer;
  logger: Logger;
}
