import type { ImageCopy, ImageCopySpec } from "../engine/block-devices.js";
import {
  type ImageCopy as CopyMessage,
  type ImageCopySpec as CopySpecMessage,
  ImageCopy_State,
} from "../gen/engine/v1/engine.js";
import { nameOf, toImageMessage } from "./messages.js";
import { checkImage, checkPath, checkSize, checkVolumeId, invalid } from "./request-checks.js";

const copyCountMax = 1024;
const smallestBlockBytes = 512;

const states = {
  copying: ImageCopy_State.STATE_COPYING,
  done: ImageCopy_State.STATE_DONE,
  failed: ImageCopy_State.STATE_FAILED,
} satisfies Record<ImageCopy["state"], ImageCopy_State>;

/** An id that may become the name of a file. */
export function checkCopyId(copyId: string): string {
  return checkVolumeId(copyId, "copy_id");
}

/** The copies that a request asks for: at least one, and each to a file of its own. */
export function checkCopySpecs(messages: readonly CopySpecMessage[]): ImageCopySpec[] {
  if (messages.length === 0 || messages.length > copyCountMax) {
    throw invalid("copies", `a list of ${messages.length}`, `1 to ${copyCountMax}`);
  }
  const specs = messages.map(checkCopySpec);
  for (const name of ["copyId", "targetPath"] as const) {
    const values = specs.map((spec) => spec[name]);
    const repeated = values.find((value, position) => values.indexOf(value) !== position);
    if (repeated !== undefined) throw invalid("copies", `a list with ${repeated} twice`, "each copy once");
  }
  return specs;
}

export function toCopySpecMessage({ source, ...same }: ImageCopySpec): CopySpecMessage {
  return { ...same, source: toImageMessage(source) };
}

export function toCopyMessage({ state, reason, ...same }: ImageCopy): CopyMessage {
  return { ...same, state: states[state], reason };
}

export function fromCopyMessage(message: CopyMessage | undefined): ImageCopy {
  if (message === undefined) throw new Error("the engine's answer has no copy");
  const { state, reason, ...same } = message;
  return { ...same, state: nameOf(states, state), ...(reason !== undefined && { reason }) };
}

function checkCopySpec({ copyId, volumeId, source, sizeBytes, targetPath }: CopySpecMessage): ImageCopySpec {
  return {
    copyId: checkCopyId(copyId),
    volumeId: checkVolumeId(volumeId),
    source: checkImage(source),
    sizeBytes: checkSize(sizeBytes, smallestBlockBytes),
    targetPath: checkPath(targetPath, "target_path"),
  };
}
