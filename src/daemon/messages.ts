import type { AdoptionEntry, BlockDevice, BlockDeviceImage, BlockDeviceSpec } from "../engine/block-devices.js";
import {
  AdoptionEntry_Action,
  type AdoptionEntry as AdoptionMessage,
  type AttachRequest,
  type Device,
  Device_State,
  type Image,
  Image_Kind,
} from "../gen/engine/v1/engine.js";

const states = {
  live: Device_State.STATE_LIVE,
  quiesced: Device_State.STATE_QUIESCED,
  dead: Device_State.STATE_DEAD,
} satisfies Record<BlockDevice["state"], Device_State>;

const actions = {
  adopted: AdoptionEntry_Action.ACTION_ADOPTED,
  removed: AdoptionEntry_Action.ACTION_REMOVED,
  kept: AdoptionEntry_Action.ACTION_KEPT,
  failed: AdoptionEntry_Action.ACTION_FAILED,
} satisfies Record<AdoptionEntry["action"], AdoptionEntry_Action>;

const kinds = { file: Image_Kind.KIND_FILE, memory: Image_Kind.KIND_MEMORY };

export function toAttachRequest(spec: BlockDeviceSpec): AttachRequest {
  const { image, queueCount, queueDepth, ...same } = spec;
  return { ...same, image: toImageMessage(image), queueCount, queueDepth };
}

export function toImageMessage({ kind, path }: BlockDeviceImage): Image {
  return { kind: kinds[kind], path };
}

export function toDeviceMessage({ state, serving, ...same }: BlockDevice): Device {
  return { ...same, state: states[state], serving: serving && { ...serving, features: [...serving.features] } };
}

export function fromDeviceMessage(message: Device | undefined): BlockDevice {
  if (message === undefined) throw new Error("the engine's answer has no device");
  const { state, serving, ...same } = message;
  return { ...same, state: nameOf(states, state), ...(serving && { serving }) };
}

export function toAdoptionMessage({ action, deviceId, ...same }: AdoptionEntry): AdoptionMessage {
  return { ...same, deviceId, action: actions[action] };
}

export function fromAdoptionMessage({ action, deviceId, ...same }: AdoptionMessage): AdoptionEntry {
  return { ...same, ...(deviceId !== undefined && { deviceId }), action: nameOf(actions, action) };
}

/** The name that a table gives to a number from the wire. */
export function nameOf<Name extends string>(table: Record<Name, number>, value: number): Name {
  const found = (Object.keys(table) as Name[]).find((name) => table[name] === value);
  if (found !== undefined) return found;
  throw new Error(`the engine's answer has ${value} where this version knows ${Object.values(table).join(", ")}`);
}
