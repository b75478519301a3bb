import { DriverError } from "../errors.js";
import type { FsType, MountCapability, Volume } from "../pools/volume.js";
import type { MountEntry } from "../system/mountinfo.js";
import type { NumberedDevice } from "./device-mounts.js";
import { isReadOnlyUse } from "./device-spec.js";
import { FilesystemPreparer } from "./filesystem-preparer.js";
import type { NodeDependencies } from "./node-dependencies.js";
import { createTarget, findMount, resolveTargetPath } from "./target-path.js";

export interface FilesystemStageRequest {
  capability: MountCapability;
  stagingPath: string;
}

/** Mounts the file system of a volume at its staging path, made when there is none; or verifies the mount there. */
export class FilesystemStager {
  private readonly preparer: FilesystemPreparer;

  constructor(private readonly dependencies: NodeDependencies) {
    this.preparer = new FilesystemPreparer(dependencies);
  }

  async stage(
    volume: Volume,
    device: NumberedDevice,
    { capability, stagingPath }: FilesystemStageRequest,
  ): Promise<void> {
    const { mounter } = this.dependencies;
    const path = await resolveTargetPath(stagingPath);
    const fsType = chooseFsType(volume, capability);
    const expected = { device, fsType, readOnly: isReadOnlyUse(capability) };
    const staged = findMount(await mounter.list(), path);
    if (staged !== undefined) return assertStaged(staged, expected);
    await createTarget(path, "directory");
    await this.preparer.prepare(volume, device, fsType);
    const options = [...new Set([...(expected.readOnly ? ["ro"] : []), ...capability.mountFlags])];
    await mounter.mount({ source: device.path, target: path, fsType, options });
    const mounted = findMount(await mounter.list(), path);
    if (mounted === undefined) throw new DriverError("internal", `mounted ${device.path}, but ${path} has no mount`);
    assertStaged(mounted, expected);
  }
}

function chooseFsType(volume: Volume, capability: MountCapability): FsType {
  if (capability.fsType !== undefined) return capability.fsType;
  const made = volume.capabilities.find((known) => known.accessType === "mount" && known.fsType !== undefined);
  return (made?.accessType === "mount" ? made.fsType : undefined) ?? "ext4";
}

interface ExpectedMount {
  device: NumberedDevice;
  fsType: FsType;
  readOnly: boolean;
}

function assertStaged(entry: MountEntry, { device, fsType, readOnly }: ExpectedMount): void {
  const { mountPoint } = entry;
  if (entry.deviceNumber !== device.number) {
    const found = `${entry.source} (${entry.deviceNumber})`;
    const message = `${mountPoint} has a mount of ${found}, not of ${device.path} (${device.number}): unmount it`;
    throw new DriverError("refused", message);
  }
  const isReadOnly = entry.options.includes("ro");
  if (entry.fsType === fsType && isReadOnly === readOnly) return;
  const found = `${entry.fsType}, ${isReadOnly ? "read-only" : "writable"}`;
  const asked = `${fsType}, ${readOnly ? "read-only" : "writable"}`;
  throw new DriverError("conflict", `${mountPoint} is staged as ${found}, asked for is ${asked}: unstage it first`);
}
