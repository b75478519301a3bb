import type { BlockDeviceSpec, BlockDevices } from "../../../src/engine/block-devices.js";

/** One operation of the engine, and the points in it at which an engine can end. */
export interface Phase {
  name: string;
  points: string[];
  /** What must be so before. */
  prepare(devices: BlockDevices, victim: BlockDeviceSpec): Promise<unknown>;
  /** The operation, which can be repeated. */
  act(devices: BlockDevices, victim: BlockDeviceSpec): Promise<unknown>;
}

const attach = (devices: BlockDevices, victim: BlockDeviceSpec) => devices.attach(victim);
const detach = (devices: BlockDevices, { volumeId }: BlockDeviceSpec) => devices.detach(volumeId);
const aroundEach = (...steps: string[]) => steps.flatMap((step) => [`before:${step}`, `after:${step}`]);

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
    name: "detach",
    points: aroundEach("STOP_DEV", "DEL_DEV", "journal-remove"),
    prepare: attach,
    act: detach,
  },
];
