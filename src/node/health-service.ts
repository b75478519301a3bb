import type { NodeServer } from "../gen/csi/csi.js";
import type { VolumeHealth } from "../health/volume-health.js";
import type { Handlers } from "../rpc/handler.js";
import { toProtoHealth, toProtoStorageHealth } from "../rpc/health.js";
import { requirePath, requireVolumeId } from "../rpc/required.js";
import { checkFilesystem } from "./filesystem-health.js";
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
      // A file system above a device that does not answer would not answer either.
      const ofFilesystem = isReachable ? await checkFilesystem(volumeId, dependencies) : [];
      return { volumeHealth: toProtoHealth(volumeId, [...findings, ...ofFilesystem]) };
    },
    nodeGetStorageHealth: async () => ({ backendHealth: toProtoStorageHealth(await health.checkStorage()) }),
  };
}
