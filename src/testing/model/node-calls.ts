import { rpcs } from "../rpc-client.js";
import { type Call, stagingPath, targetPath, toCall, toCapability } from "./call.js";
import type { ModelState, ModelVolume } from "./state.js";
import type { World } from "./world.js";

const missing = "NOT_FOUND";
const refused = "FAILED_PRECONDITION";

/** The calls of kubelet. */
export class NodeCalls {
  constructor(
    private readonly state: ModelState,
    private readonly world: World,
  ) {}

  stage(slot: number): Call {
    const volume = this.state.volumes.get(slot);
    const request = { ...this.useOf(slot), stagingTargetPath: stagingPath(this.world, slot) };
    const apply = () => {
      if (volume !== undefined) volume.staged = true;
    };
    const undo = volume?.staged === false ? { undo: () => this.unstage(slot) } : {};
    return toCall({ method: rpcs.nodeStageVolume, request, code: codeOf(volume), apply, ...undo });
  }

  /** A volume whose deletion took its device away has nothing to unstage. */
  unstage(slot: number): Call {
    const volume = this.state.volumes.get(slot);
    const request = { volumeId: this.state.volumeId(slot), stagingTargetPath: stagingPath(this.world, slot) };
    const code = (volume?.targets.size ?? 0) > 0 ? refused : "OK";
    const apply = () => {
      if (volume !== undefined) volume.staged = false;
    };
    const undo = code === "OK" && volume?.staged === true ? { undo: () => this.stage(slot) } : {};
    return toCall({ method: rpcs.nodeUnstageVolume, request, code, apply, ...undo });
  }

  publish(slot: number, target: number, readOnly: boolean): Call {
    const volume = this.state.volumes.get(slot);
    const paths = this.pathsOf(slot, target);
    const request = { ...this.useOf(slot), ...paths, readonly: readOnly };
    const code = codeOfPublish(volume, target, readOnly);
    const apply = () => volume?.targets.set(target, readOnly);
    const undo = volume?.targets.has(target) === false ? { undo: () => this.unpublish(slot, target) } : {};
    return toCall({ method: rpcs.nodePublishVolume, request, code, apply, ...undo });
  }

  unpublish(slot: number, target: number): Call {
    const volume = this.state.volumes.get(slot);
    const request = { volumeId: this.state.volumeId(slot), targetPath: targetPath(this.world, slot, target) };
    const readOnly = volume?.targets.get(target);
    const apply = () => volume?.targets.delete(target);
    const undo = readOnly === undefined ? {} : { undo: () => this.publish(slot, target, readOnly) };
    return toCall({ method: rpcs.nodeUnpublishVolume, request, code: "OK", apply, ...undo });
  }

  /** At the staging path, where a raw block volume is not. */
  expand(slot: number): Call {
    const volume = this.state.volumes.get(slot);
    const requiredBytes = BigInt(volume?.sizeUnits ?? 1) * this.world.unitBytes;
    const volumePath = stagingPath(this.world, slot);
    const request = {
      volumeId: this.state.volumeId(slot),
      volumePath,
      capacityRange: { requiredBytes, limitBytes: 0n },
    };
    const code = volume?.staged === false ? refused : volume?.access === "block" ? missing : codeOf(volume);
    return toCall({ method: rpcs.nodeExpandVolume, request, code });
  }

  stats(slot: number, target: number): Call {
    const isThere = this.state.volumes.get(slot)?.targets.has(target) === true;
    const request = { volumeId: this.state.volumeId(slot), volumePath: targetPath(this.world, slot, target) };
    return toCall({ method: rpcs.nodeGetVolumeStats, request, code: isThere ? "OK" : missing });
  }

  private useOf(slot: number) {
    const volumeCapability = toCapability(this.state.volumes.get(slot)?.access ?? "mount");
    return { volumeId: this.state.volumeId(slot), volumeCapability };
  }

  private pathsOf(slot: number, target: number) {
    return {
      stagingTargetPath: stagingPath(this.world, slot),
      targetPath: targetPath(this.world, slot, target),
    };
  }
}

const codeOf = (volume: ModelVolume | undefined): string => (volume === undefined ? missing : "OK");

/** A node of a block device is read-only for everyone, or for no one. */
function codeOfPublish(volume: ModelVolume | undefined, target: number, readOnly: boolean): string {
  if (volume === undefined) return missing;
  if (!volume.staged) return refused;
  const there = volume.targets.get(target);
  if (there !== undefined) return there === readOnly ? "OK" : "ALREADY_EXISTS";
  const differs = [...volume.targets.values()].some((other) => other !== readOnly);
  return volume.access === "block" && differs ? refused : "OK";
}
