import { toLimitValues } from "../volume/limits.js";
import type { VolumeParameters } from "../volume/volume.js";
import { toFormatValues } from "./format-parameters.js";

/** One value for each parameter that a StorageClass can have, by the name it has there. */
type ParameterValues = Readonly<Record<string, string | number | boolean | undefined>>;

/** Every parameter that was chosen, or is what it is because nobody chose it. */
export function toParameterValues(parameters: VolumeParameters): ParameterValues {
  return {
    pool: parameters.pool,
    provisioning: parameters.provisioning,
    logicalBlockSize: parameters.logicalBlockSizeBytes,
    queues: parameters.queueCount,
    queueDepth: parameters.queueDepth,
    trimInterval: parameters.trimIntervalMinutes,
    trimAtUnstage: parameters.trimAtUnstage ?? false,
    encryption: parameters.encryption,
    encryptionDiscard: parameters.encryptionDiscard ?? false,
    encryptionMemory: parameters.encryptionMemoryBytes,
    ...toFormatValues(parameters.format),
    ...toLimitValues(parameters.limits),
  };
}

/** The names under which two choices have different values, in alphabetical order. */
export function listDifferent(left: ParameterValues, right: ParameterValues): string[] {
  const names = new Set([...Object.keys(left), ...Object.keys(right)]);
  return [...names].filter((name) => left[name] !== right[name]).sort();
}
