import type { FeatureName } from "./features.js";

/**
 * What the driver makes of each feature beyond knowing it, as data. Taken from ublk_ctrl_add_dev of kernel 7.3; earlier
 * kernels differ only in what they do not know.
 */
export interface FeatureRule {
  /** The driver sets it whenever it knows it, asked or not. */
  forced?: true;
  /** Refused, or silently dropped, on an unprivileged device. */
  privilegedOnly?: true;
  /** At least one of these has to be asked for too. */
  needsOneOf?: readonly FeatureName[];
  /** The driver refuses the pair, or drops this one. */
  excludedBy?: readonly FeatureName[];
  /** Set by an option of its own, because more than the flag depends on it. */
  option?: "unprivileged" | "dataMode" | "batch";
  /** Nothing in this engine serves it. */
  unserved?: true;
}

export const featureRules: Readonly<Record<FeatureName, FeatureRule>> = {
  SUPPORT_ZERO_COPY: { privilegedOnly: true, option: "dataMode" },
  URING_CMD_COMP_IN_TASK: { forced: true },
  NEED_GET_DATA: {
    option: "dataMode",
    excludedBy: ["USER_COPY", "SUPPORT_ZERO_COPY", "AUTO_BUF_REG", "BATCH_IO"],
  },
  USER_RECOVERY: { privilegedOnly: true },
  USER_RECOVERY_REISSUE: {
    privilegedOnly: true,
    needsOneOf: ["USER_RECOVERY"],
    excludedBy: ["USER_RECOVERY_FAIL_IO"],
  },
  UNPRIVILEGED_DEV: { option: "unprivileged" },
  CMD_IOCTL_ENCODE: { forced: true },
  USER_COPY: { privilegedOnly: true, option: "dataMode" },
  ZONED: { unserved: true, needsOneOf: ["USER_COPY", "SUPPORT_ZERO_COPY"] },
  USER_RECOVERY_FAIL_IO: {
    privilegedOnly: true,
    needsOneOf: ["USER_RECOVERY"],
    excludedBy: ["USER_RECOVERY_REISSUE"],
  },
  UPDATE_SIZE: {},
  AUTO_BUF_REG: { privilegedOnly: true, option: "dataMode" },
  QUIESCE: { privilegedOnly: true, needsOneOf: ["USER_RECOVERY"] },
  PER_IO_DAEMON: { forced: true, excludedBy: ["BATCH_IO"] },
  BUF_REG_OFF_DAEMON: { forced: true },
  BATCH_IO: { option: "batch" },
  INTEGRITY: { unserved: true, needsOneOf: ["USER_COPY"] },
  SAFE_STOP_DEV: { forced: true },
  NO_AUTO_PART_SCAN: {},
  SHMEM_ZC: { unserved: true },
  IO_DESC_SIZE: { unserved: true },
};
