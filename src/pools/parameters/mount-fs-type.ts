import { defaultFsType, type FsType, type VolumeCapability } from "../volume/volume.js";
import { parseMountFlags } from "./mount-options.js";

/** Capabilities with this type of file system where they leave it open, and with mount flags that it has. */
export function withFsType(capabilities: readonly VolumeCapability[], fsType: FsType | undefined): VolumeCapability[] {
  return capabilities.map((capability) => {
    if (capability.accessType === "block") return capability;
    const chosen = capability.fsType ?? fsType;
    // Refused here the claim says why; at staging it would only be a pod that does not start.
    return {
      ...capability,
      fsType: chosen,
      mountFlags: parseMountFlags(capability.mountFlags, chosen ?? defaultFsType),
    };
  });
}

/** The type that the first of the capabilities names. */
export function findFsType(capabilities: readonly VolumeCapability[]): FsType | undefined {
  const mounts = capabilities.flatMap((each) => (each.accessType === "mount" ? [each.fsType] : []));
  return mounts.find((fsType) => fsType !== undefined);
}
