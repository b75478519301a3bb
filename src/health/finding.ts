/** One thing that is wrong, in the words of CSI's volume health; `reason` is for programs, `message` for people. */
export interface VolumeFinding {
  /**
   * `degraded`: usable, not as it should be. `inaccessible`: cannot be used now. `data_loss`: bytes are gone, or are
   * strongly suspected to be.
   */
  status: "degraded" | "inaccessible" | "data_loss";
  reason: VolumeReason;
  message: string;
}

export type VolumeReason =
  | "DeviceDead"
  | "DeviceQuiesced"
  | "DeviceUnusable"
  | "EngineUnavailable"
  | "FilesystemErrors"
  | "FilesystemUnusable"
  | "ImageIoErrors"
  | "ImageLost"
  | "PoolOutOfSpace"
  | "PoolUnavailable"
  | "RecordUnusable";

/** One thing that is wrong with what volumes stand on. */
export interface StorageFinding {
  /** `unreachable`: nothing that stands on it can be used. */
  status: "degraded" | "unreachable";
  reason: "EngineUnavailable" | "PoolNearlyFull" | "PoolOutOfSpace" | "PoolUnavailable";
  message: string;
}
