import { truncate } from "node:fs/promises";
import type { BlockDeviceSpec, BlockDevices } from "../../../src/engine/block-devices.js";

/** One operation of the engine, and the points in it at which an engine can end. */
export interface Phase {
  name: string;
  points: string[];
  /** The kernel feature without which there is no such operation. */
  needs?: string;
  /** The kernel feature with which it goes another way. */
  lacks?: string;
  /** What must be so before. */
  prepare(devices: BlockDevices, victim: BlockDeviceSpec): Promise<unknown>;
  /** The operation, which can be repeated. */
  act(devices: BlockDevices, victim: BlockDeviceSpec): Promise<unknown>;
}

const attach = (devices: BlockDevices, victim: BlockDeviceSpec) => devices.attach(victim);
const detach = (devices: BlockDevices, { volumeId }: BlockDeviceSpec) => devices.detach(volumeId);
const aroundEach = (...steps: string[]) => steps.flatMap((step) => [`before:${step}`, `after:${step}`]);

/** Another mebibyte, each time: the image first, as its owner does. */
async function grow(devices: BlockDevices, victim: BlockDeviceSpec): Promise<unknown> {
  victim.sizeBytes += 1n << 20n;
  await truncate(victim.image.path, Number(victim.sizeBytes));
  return await devices.resize(victim.volumeId, victim.sizeBytes);
}

export const phases: Phase[] = [
  {
    name: "attach and start",
    points: aroundEach("journal-adding:victim", "ADD_DEV", "SET_PARAMS", "START_DEV", "journal-serving:victim"),
    prepare: async () => undefined,
    act: attach,
  },
  {
    name: "recovery",
    points: aroundEach("START_USER_RECOVERY", "END_USER_RECOVERY", "journal-serving"),
    prepare: attach,
    act: attach,
  },
  {
    name: "resize",
    needs: "UPDATE_SIZE",
    points: [...aroundEach("journal-resizing:victim", "UPDATE_SIZE")],
    prepare: attach,
    act: grow,
  },
  {
    name: "detach",
    points: aroundEach("DEL_DEV", "journal-remove"),
    prepare: attach,
    act: detach,
  },
  {
    name: "detach, unused as the kernel says",
    needs: "SAFE_STOP_DEV",
    points: aroundEach("TRY_STOP_DEV"),
    prepare: attach,
    act: detach,
  },
  {
    name: "detach, unused as /proc says",
    lacks: "SAFE_STOP_DEV",
    points: aroundEach("STOP_DEV"),
    prepare: attach,
    act: detach,
  },
];
