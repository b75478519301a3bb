const prefix = "ublk-csi-";

/** The name of a volume's mapping in the kernel's device mapper, derived from the volume so that it is found again. */
export function toMappingName(volumeId: string): string {
  return `${prefix}${volumeId}`;
}

/** Whether a device-mapper device is a volume's of this driver. */
export function isMappingName(name: string): boolean {
  return name.startsWith(prefix);
}

/** The path that mount(8) puts into the mount table for a mapping. */
export function toMappingPath(name: string): string {
  return `/dev/mapper/${name}`;
}
