import { BlockDeviceError, type BlockDevices } from "../engine/block-devices.js";
import type { EngineServer } from "../gen/engine/v1/engine.js";
import type { Handlers } from "../rpc/handler.js";
import { checkCopyId, checkCopySpecs, toCopyMessage } from "./copy-messages.js";
import { fromLimitsMessage } from "./limit-messages.js";
import { toAdoptionMessage, toDeviceMessage } from "./messages.js";
import { checkRange, checkSize, checkSpec, checkToken, checkVolumeId, checkVolumeIds } from "./request-checks.js";

const smallestBlockBytes = 512;
const longestFreezeMs = 600_000;

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
    list: async () => ({
      devices: (await devices.list()).map(toDeviceMessage),
      volumeIds: await devices.listVolumeIds(),
    }),
    resize: async ({ volumeId, sizeBytes }) => {
      const checkedBytes = checkSize(sizeBytes, smallestBlockBytes);
      return { device: toDeviceMessage(await devices.resize(checkVolumeId(volumeId), checkedBytes)) };
    },
    setLimits: async ({ volumeId, limits }) => {
      await devices.setLimits(checkVolumeId(volumeId), fromLimitsMessage(limits));
      return {};
    },
    freeze: async (request, { isCancelled }) => {
      const volumeIds = checkVolumeIds(request.volumeIds);
      const deadlineMs = checkRange("deadline_ms", request.deadlineMs, 1, longestFreezeMs);
      const token = await devices.freeze(volumeIds, { deadlineMs });
      // Nobody is left who would thaw them.
      if (isCancelled()) await devices.thaw(volumeIds, token);
      return { token };
    },
    thaw: async ({ volumeIds, token }) => {
      await devices.thaw(checkVolumeIds(volumeIds), checkToken(token));
      return {};
    },
    startCopies: async ({ copies, deadlineMs }) => {
      const specs = checkCopySpecs(copies);
      await devices.startCopies(specs, { deadlineMs: checkRange("deadline_ms", deadlineMs, 1, longestFreezeMs) });
      return {};
    },
    getCopy: async ({ copyId }) => {
      const copy = await devices.findCopy(checkCopyId(copyId));
      if (copy === undefined) throw new BlockDeviceError("not_found", `there is no copy ${copyId}`);
      return { copy: toCopyMessage(copy) };
    },
    endCopy: async ({ copyId }) => {
      await devices.endCopy(checkCopyId(copyId));
      return {};
    },
    getCapabilities: async () => await devices.capabilities(),
    adopt: async () => ({ entries: (await devices.adopt()).entries.map(toAdoptionMessage) }),
  };
}
