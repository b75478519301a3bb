import type { FeatureName } from "./features.js";
import type { Target } from "./options.js";

/** How the bytes of a request get from its user to the target and back. */
export type DataMode = "copy" | "get-data" | "user-copy" | "zero-copy" | "auto-zero-copy";

/** What a mode asks of the kernel and of the target. */
export interface DataModeNeeds {
  features: readonly FeatureName[];
  /** Kinds of target that can serve it; absent: all. */
  targets?: readonly Target["kind"][];
}

export const dataModes: Readonly<Record<DataMode, DataModeNeeds>> = {
  copy: { features: [] },
  "get-data": { features: ["NEED_GET_DATA"] },
  "user-copy": { features: ["USER_COPY"] },
  "zero-copy": { features: ["SUPPORT_ZERO_COPY"], targets: ["null", "file"] },
  "auto-zero-copy": { features: ["SUPPORT_ZERO_COPY", "AUTO_BUF_REG"], targets: ["null", "file"] },
};
