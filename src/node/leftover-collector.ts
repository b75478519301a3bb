import { dirname, join } from "node:path";
import type { Logger } from "../log.js";
import type { Pools } from "../pools/pool/pools.js";
import type { RunLocked } from "../pools/provisioning/volume-content.js";
import type { PodClaim } from "../pools/volume/volume.js";
import { RepeatedPass } from "../system/repeated-pass.js";
import type { EphemeralVolumes } from "./ephemeral-volumes.js";
import { mayExist } from "./mounts/target-path.js";

export interface LeftoverCollectorParts {
  ephemeral: EphemeralVolumes;
  pools: Pools;
  kubeletDir: string;
  /** Of the calls, so that nobody publishes what is removed here. */
  runLocked: RunLocked;
  logger: Logger;
}

const collectEveryMs = 10 * 60_000;

/**
 * Removes the inline volumes of pods that are gone: kubelet may forget a pod that a reboot ended, and unpublishes nothing then.
 * The volume of a pod that runs is mounted; that of any other whose directory is there can still be published again.
 */
export class LeftoverCollector {
  private readonly pass = new RepeatedPass(collectEveryMs, () => this.removeLeftovers());

  constructor(private readonly parts: LeftoverCollectorParts) {}

  /** Collects from time to time. */
  start(): void {
    this.pass.start();
  }

  /** Removes nothing more. False when a removal that is going on was not over in so long. */
  async stop(waitMsMax: number): Promise<boolean> {
    return await this.pass.stop(waitMsMax);
  }

  /** Collects now. What cannot be removed is told in the log, and hides no other. */
  async collect(): Promise<void> {
    await this.pass.run();
  }

  private async removeLeftovers(): Promise<void> {
    for (const { id, ephemeral: claim } of this.parts.pools.listEphemeral()) {
      if (this.pass.isStopped) return;
      if (claim !== undefined) await this.removeIfLeftover(id, claim);
    }
  }

  private async removeIfLeftover(volumeId: string, claim: PodClaim): Promise<void> {
    const { ephemeral, runLocked, logger } = this.parts;
    const fields = { volumeId, pod: claim.podUid };
    try {
      if (!(await this.isGone(claim))) return;
      const isRemoved = await runLocked([`volume ${volumeId}`], async () => {
        // Whoever had the lock before may have been kubelet, with the pod.
        return (await this.isGone(claim)) && (await ephemeral.removeUnmounted(volumeId));
      });
      if (isRemoved) logger.warn(fields, "inline volume of a vanished pod removed");
    } catch (err) {
      logger.warn({ ...fields, err }, "inline volume of a vanished pod not removed");
    }
  }

  /**
   * Whether there surely is nothing of the pod. Kubelet removes the directory above a target after a failed publication, so
   * that one alone tells nothing. Without the directory of all pods, as when its disk is not mounted, no pod can be judged.
   */
  private async isGone({ podUid, targetPath }: PodClaim): Promise<boolean> {
    const podsPath = join(this.parts.kubeletDir, "pods");
    if (!(await mayExist(podsPath))) return false;
    return !(await mayExist(join(podsPath, podUid))) && !(await mayExist(dirname(targetPath)));
  }
}
