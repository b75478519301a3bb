import type { ControllerServer } from "../gen/csi/csi.js";
import type { VolumeHealth } from "../health/volume-health.js";
import type { Handlers } from "../rpc/handler.js";
import { toProtoHealth } from "../rpc/health.js";
import { requireVolumeId } from "../rpc/required.js";
import { listPage } from "./page.js";

/** The controller's RPCs that tell how volumes do. */
export function createHealthHandlers(health: VolumeHealth): Handlers<ControllerServer> {
  return {
    controllerGetVolumeHealth: async ({ volumeId }) => {
      return { volumeHealth: toProtoHealth(volumeId, await health.check(requireVolumeId(volumeId))) };
    },
    controllerListVolumeHealth: async ({ startingToken, maxEntries }) => {
      const { items, nextToken } = listPage(await health.listAbnormal(), startingToken, maxEntries);
      return { entries: items.map(({ id, findings }) => toProtoHealth(id, findings)), nextToken };
    },
  };
}
