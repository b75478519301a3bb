import { BlockDeviceError, type BlockDevices } from "../engine/block-devices.js";
import type { EngineServer } from "../gen/engine/v1/engine.js";
import type { Handlers } from "../rpc/handler.js";
import { toAdoptionMessage, toDeviceMessage } from "./messages.js";
import { checkSpec, checkVolumeId } from "./request-checks.js";

/** The calls of the engine's API that have one answer, over any block devices. */
export function createEngineService(devices: BlockDevices): Handlers<EngineServer> {
  return {
    attach: async (request) => ({ device: toDeviceMessage(await devices.attach(checkSpec(request))) }),
    detach: async ({ volumeId }) => {
      await devices.detach(checkVolumeId(volumeId));
      return {};
    },
    get: async ({ volumeId }) => {
      const device = await devices.find(checkVolumeId(volumeId));
      if (device === undefined) throw new BlockDeviceError("not_found", `volume ${volumeId} has no device`);
      return { device: toDeviceMessage(device) };
    },
    list: async () => ({ devices: (await devices.list()).map(toDeviceMessage) }),
    adopt: async () => ({ entries: (await devices.adopt()).entries.map(toAdoptionMessage) }),
  };
}
