import type { Volume, VolumeCapability } from "./volume.js";

/**
 * Why a volume may not be used in one of these ways, or undefined when it may in all. A volume is for what it was made
 * for: raw data has no signature, so a volume made for block access must never be taken for a blank one and formatted.
 */
export function explainMismatch(
  volume: Pick<Volume, "id" | "capabilities">,
  capabilities: readonly VolumeCapability[],
): string | undefined {
  for (const capability of capabilities) {
    const made = volume.capabilities.filter((known) => known.accessType === capability.accessType);
    const madeFor = [...new Set(volume.capabilities.map(describe))].join(", ");
    if (made.length === 0 || !made.some((known) => isSameFsType(known, capability))) {
      return `volume ${volume.id} was made for ${madeFor}, not for ${describe(capability)}`;
    }
  }
  return undefined;
}

function isSameFsType(made: VolumeCapability, asked: VolumeCapability): boolean {
  if (made.accessType === "block" || asked.accessType === "block") return true;
  return made.fsType === undefined || asked.fsType === undefined || made.fsType === asked.fsType;
}

function describe(capability: VolumeCapability): string {
  if (capability.accessType === "block") return "block access";
  return capability.fsType === undefined ? "a file system" : `a file system of type ${capability.fsType}`;
}
