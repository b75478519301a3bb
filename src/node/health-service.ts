import type { NodeServer } from "../gen/csi/csi.js";
import type { VolumeHealth } from "../health/volume-health.js";
import type { Handlers } from "../rpc/handler.js";
import { toProtoHealth, toProtoStorageHealth } from "../rpc/health.js";
import { requirePath, requireVolumeId } from "../rpc/required.js";
import { checkMounts } from "./mount-health.js";
import type { NodeDependencies } from "./node-dependencies.js";

/** The node's RPCs that tell how volumes, and what they stand on, do. */
export function createNodeHealthHandlers(health: VolumeHealth, dependencies: NodeDependencies): Handlers<NodeServer> {
  return {
    // A volume need be neither staged nor published: the reason for that may be what is asked for.
    nodeGetVolumeHealth: async ({ volumeId, volumePublishPath, stagingTargetPath }) => {
      requireVolumeId(volumeId);
      if (volumePublishPath !== "") requirePath("volume_publish_path", volumePublishPath);
      if (stagingTargetPath !== "") requirePath("staging_target_path", stagingTargetPath);
      const findings = await health.check(volumeId);
      const isReachable = findings.every(({ status }) => status === "degraded");
      const paths = [volumePublishPath, stagingTargetPath].filter((path) => path !== "");
      // A file system above a device that does not answer would not answer either.
      const ofMounts = isReachable ? await checkMounts(volumeId, paths, dependencies) : [];
      return { volumeHealth: toProtoHealth(volumeId, [...findings, ...ofMounts]) };
    },
    nodeGetStorageHealth: async () => ({ backendHealth: toProtoStorageHealth(await health.checkStorage()) }),
  };
}
