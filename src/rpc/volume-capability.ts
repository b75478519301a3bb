import { DriverError } from "../errors.js";
import {
  type VolumeCapability as ProtoCapability,
  VolumeCapability_AccessMode_Mode as ProtoMode,
} from "../gen/csi/csi.js";
import { parseMountFlags } from "../pools/parameters/mount-options.js";
import { type AccessMode, accessModes, type FsType, fsTypes, type VolumeCapability } from "../pools/volume/volume.js";

/** Reads the capabilities of a request: at least one, each complete and offered by this driver. */
export function fromProtoCapabilities(capabilities: readonly ProtoCapability[]): VolumeCapability[] {
  if (capabilities.length === 0) throw invalid("volume_capabilities is empty, at least one capability is required");
  return capabilities.map(fromProtoCapability);
}

/** Reads one capability; a missing or incomplete one is invalid, one that no volume has is invalid too. */
export function fromProtoCapability(capability: ProtoCapability | undefined): VolumeCapability {
  if (capability === undefined) throw invalid("volume_capability is required");
  const { accessType } = capability;
  const accessMode = fromProtoMode(capability.accessMode?.mode);
  if (accessType === undefined) throw invalid("volume_capability has no access_type, give block or mount");
  if (accessType.$case === "block") return { accessType: "block", accessMode };
  const { fsType, mountFlags, volumeMountGroup } = accessType.value;
  const known = fromFsType(fsType);
  const mountGroupId = fromMountGroup(volumeMountGroup);
  const group = mountGroupId === undefined ? {} : { mountGroupId };
  const flags = parseMountFlags(mountFlags, known);
  assertOneAccess(accessMode, flags);
  return { accessType: "mount", accessMode, fsType: known, mountFlags: flags, ...group };
}

function fromProtoMode(mode: ProtoMode | undefined): AccessMode {
  if (mode === undefined || mode === ProtoMode.UNKNOWN) throw invalid("volume_capability has no access_mode");
  const name = accessModes.find((candidate) => ProtoMode[candidate] === mode);
  if (name !== undefined) return name;
  const asked = ProtoMode[mode] ?? String(mode);
  throw invalid(`access mode ${asked} is not supported: a volume lives on one node, so use ${accessModes.join(", ")}`);
}

// The last option wins in mount(8): the mount would be writable, and everything above it take it for read-only.
function assertOneAccess(accessMode: AccessMode, mountFlags: readonly string[]): void {
  if (!mountFlags.includes("rw")) return;
  const reader = accessMode === "SINGLE_NODE_READER_ONLY" ? `access mode ${accessMode}` : 'mount option "ro"';
  if (accessMode !== "SINGLE_NODE_READER_ONLY" && !mountFlags.includes("ro")) return;
  throw invalid(`mount option "rw" contradicts ${reader}: leave one of them out`);
}

/** A number: names of groups mean something else in every container. The largest one stands for "no change". */
function fromMountGroup(text: string): number | undefined {
  if (text === "") return undefined;
  if (/^(0|[1-9][0-9]{0,9})$/.test(text) && Number(text) < groupIdLimit) return Number(text);
  throw invalid(`volume_mount_group "${text}" must be the number of a group, from 0 to ${groupIdLimit - 1}`);
}

const groupIdLimit = 2 ** 32 - 1;

function fromFsType(fsType: string): FsType | undefined {
  if (fsType === "") return undefined;
  const known = fsTypes.find((candidate) => candidate === fsType);
  if (known !== undefined) return known;
  throw invalid(`file system type "${fsType}" is not supported, allowed is one of: ${fsTypes.join(", ")}`);
}

const invalid = (message: string): DriverError => new DriverError("invalid", message);
