import type { RpcClient } from "../rpc-client.js";

export type Access = "mount" | "block";
export type PoolName = "disk" | "memory";

/** Where a volume is shown to a pod. */
export interface Place {
  volumeId: string;
  access: Access;
  pool: PoolName;
  path: string;
}

/** What the driver under test lives in: fakes in this process, or a machine with a driver in a process of its own. */
export interface World {
  /** Volumes have one of these, two or three. */
  readonly unitBytes: bigint;
  /** Whether a volume with a device can be expanded. */
  readonly canGrowInUse: boolean;
  /** A driver that was started again has a new one. */
  readonly client: RpcClient;
  /** Below it everything is staged and published. */
  readonly kubeletDir: string;
  /** The driver dies right after so many steps from here on that outlive it. */
  armDeath(steps: number): Promise<void>;
  /** Whether it died since `armDeath`; if so, the next one serves now. If not, it will not any more. */
  finishDeath(): Promise<boolean>;
  /** The driver dies now, and the next one serves. */
  kill(): Promise<void>;
  /** As a pod does, durably. */
  write(place: Place, token: string): Promise<void>;
  /** What was written last, or an empty text. */
  read(place: Place): Promise<string>;
  /** Whatever there is of volumes, snapshots and groups: paths, devices, mounts. */
  listTraces(): Promise<string[]>;
}
