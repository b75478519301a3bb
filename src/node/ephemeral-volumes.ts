import { DriverError } from "../errors.js";
import type { EphemeralRules } from "../pools/parameters/ephemeral-rules.js";
import { type EphemeralOrder, EphemeralProvisioner } from "../pools/provisioning/ephemeral-provisioner.js";
import type { MountCapability, PodClaim, Volume, VolumeCapability } from "../pools/volume/volume.js";
import type { MountEntry } from "../system/mountinfo.js";
import { FilesystemStager } from "./filesystem-stager.js";
import { DeviceMounts } from "./mounts/device-mounts.js";
import { mayExist, removeTarget, resolveTargetPath } from "./mounts/target-path.js";
import { unmountAll, unmountTop } from "./mounts/unmounting.js";
import type { NodeDependencies } from "./node-dependencies.js";

export interface EphemeralRequest {
  volumeId: string;
  capability: VolumeCapability;
  claim: PodClaim;
  readOnly: boolean;
}

/** How a volume was before a publication. */
interface Before {
  isNew: boolean;
  isMounted: boolean;
  hasTarget: boolean;
}

/**
 * Inline volumes: made, formatted and mounted by one publication, and gone with its end. Kubelet may never repeat a call
 * that failed, so a failure takes away all that this call has made, and nothing else: a volume that was there before it
 * may hold a pod's data. Callers serialise the verbs per volume.
 */
export class EphemeralVolumes {
  private readonly provisioner: EphemeralProvisioner;
  private readonly filesystemStager: FilesystemStager;

  constructor(
    private readonly dependencies: NodeDependencies,
    rules: EphemeralRules,
  ) {
    this.provisioner = new EphemeralProvisioner(dependencies.pools, rules);
    this.filesystemStager = new FilesystemStager(dependencies);
  }

  /** Repeated it is a success, and mounts again what a restart of the node has unmounted. */
  async publish(request: EphemeralRequest): Promise<void> {
    const order = await toOrder(request);
    const { targetPath } = order.claim;
    const { volume, isNew } = await this.provisioner.create(order);
    const isMounted = !isNew && (await this.findOwnMount(volume)) !== undefined;
    const before = { isNew, isMounted, hasTarget: await mayExist(targetPath) };
    try {
      const device = await this.dependencies.devices.open(volume, order.capability, {});
      await this.filesystemStager.stage(volume, device, { capability: order.capability, stagingPath: targetPath });
      await this.setGroup(volume, order);
    } catch (error) {
      await this.takeBack(volume, before);
      throw error;
    }
  }

  /** Whether this is the id of an inline volume, which only `unpublish` takes away. */
  has(volumeId: string): boolean {
    return this.dependencies.pools.peekVolume(volumeId)?.ephemeral !== undefined;
  }

  /** Takes the publication away, and with it the volume. */
  async unpublish(volumeId: string, targetPath: string): Promise<void> {
    const { pools, mounter } = this.dependencies;
    const target = await resolveTargetPath(targetPath);
    await unmountAll(target, mounter);
    await this.remove(pools.getVolume(volumeId));
    await removeTarget(target, mounter);
  }

  /** Removes an inline volume that is not mounted where its pod had it. False when it is, or when there is none. */
  async removeUnmounted(volumeId: string): Promise<boolean> {
    const volume = this.dependencies.pools.peekVolume(volumeId);
    if (volume?.ephemeral === undefined || (await this.findOwnMount(volume)) !== undefined) return false;
    await this.remove(volume);
    return true;
  }

  // Before the pod has the volume, and never again: what the pod makes of its files is the pod's, and it may be at them now.
  private async setGroup(volume: Volume, { claim, capability }: EphemeralOrder): Promise<void> {
    const { mountGroupId, mountFlags } = capability;
    if (mountGroupId === undefined || mountFlags.includes("ro")) return;
    const { filesystems, pools } = this.dependencies;
    const given = pools.poolOf(volume).mark(volume.id, "group-given");
    if (await given.isSet()) return;
    await filesystems.giveToGroup(claim.targetPath, mountGroupId);
    await given.set();
  }

  private async findOwnMount(volume: Volume): Promise<MountEntry | undefined> {
    const { devices, mounter } = this.dependencies;
    const device = await devices.find(volume.id);
    if (device === undefined) return undefined;
    const mounts = await DeviceMounts.read(device, mounter);
    const entry = mounts.at(claimOf(volume).targetPath);
    return entry !== undefined && mounts.shows(entry) ? entry : undefined;
  }

  private async remove(volume: Volume): Promise<void> {
    await this.putAway(volume);
    await this.dependencies.pools.deleteVolume(volume);
  }

  // Whatever else is mounted at the target is not this volume's to take away.
  private async putAway(volume: Volume): Promise<void> {
    const { devices, mounter } = this.dependencies;
    let mounted = await this.findOwnMount(volume);
    for (; mounted !== undefined; mounted = await this.findOwnMount(volume)) await unmountTop(mounted, mounter);
    await devices.close(volume.id);
  }

  // The caller hears of the failure that led here; what does not go away is found by the next attempt.
  private async takeBack(volume: Volume, before: Before): Promise<void> {
    const { mounter, logger } = this.dependencies;
    if (before.isMounted) return;
    try {
      await (before.isNew ? this.remove(volume) : this.putAway(volume));
      if (!before.hasTarget) await removeTarget(claimOf(volume).targetPath, mounter);
    } catch (err) {
      logger.warn({ volumeId: volume.id, err }, "failed publication of an inline volume not taken back");
    }
  }
}

async function toOrder({ volumeId, capability, claim, readOnly }: EphemeralRequest): Promise<EphemeralOrder> {
  const targetPath = await resolveTargetPath(claim.targetPath);
  return { volumeId, claim: { ...claim, targetPath }, capability: toMountCapability(capability, readOnly) };
}

function toMountCapability(capability: VolumeCapability, readOnly: boolean): MountCapability {
  if (capability.accessType === "block") {
    throw new DriverError("invalid", "an inline volume is a file system, block access is for persistent volumes");
  }
  const refused = capability.mountFlags.find((flag) => !mountFlagsAllowed.includes(flag.split("=", 1)[0] ?? ""));
  if (refused !== undefined) {
    const allowed = mountFlagsAllowed.join(", ");
    throw new DriverError("invalid", `mount flag "${refused}" is not for inline volumes, allowed are ${allowed}`);
  }
  const flags = readOnly ? ["ro", ...capability.mountFlags] : capability.mountFlags;
  return { ...capability, mountFlags: [...new Set(flags)] };
}

// Authors give none; kubelet itself adds the SELinux context of the pod.
const mountFlagsAllowed = ["context", "ro", "noatime", "nodev", "noexec", "nosuid", "relatime"];

function claimOf({ id, ephemeral }: Volume): PodClaim {
  if (ephemeral === undefined) throw new Error(`bug: volume ${id} is not an inline volume`);
  return ephemeral;
}
