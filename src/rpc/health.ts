import {
  type NodeGetStorageHealthResponse_StorageBackendHealth as BackendHealth,
  StorageHealthErrorType as StorageStatus,
  type VolumeHealth,
  VolumeHealthErrorType as VolumeStatus,
} from "../gen/csi/csi.js";
import type { StorageFinding, VolumeFinding } from "../health/finding.js";

const volumeStatuses = {
  degraded: VolumeStatus.DEGRADED,
  inaccessible: VolumeStatus.INACCESSIBLE,
  data_loss: VolumeStatus.DATA_LOSS,
};

const storageStatuses = {
  degraded: StorageStatus.STORAGE_DEGRADED,
  unreachable: StorageStatus.STORAGE_UNREACHABLE,
};

/** A volume without findings is healthy, which is a message with an empty list and not an absent one. */
export function toProtoHealth(volumeId: string, findings: readonly VolumeFinding[]): VolumeHealth {
  return {
    volumeId,
    healthStatuses: findings.map(({ status, ...rest }) => ({ status: volumeStatuses[status], ...rest })),
  };
}

/** CSI wants no status and reason twice: what is said of each pool goes into one message. */
export function toProtoStorageHealth(findings: readonly StorageFinding[]): BackendHealth[] {
  const joined = new Map<string, BackendHealth>();
  for (const { status, reason, message } of findings) {
    const key = `${status} ${reason}`;
    const before = joined.get(key);
    joined.set(key, {
      status: storageStatuses[status],
      reason,
      message: before === undefined ? message : `${before.message}; ${message}`,
      volumeCapability: undefined,
    });
  }
  return [...joined.values()];
}
