import type { MountEntry } from "../../system/mountinfo.js";
import type { Mounter } from "./mounter.js";

const shutDownOptions = ["shutdown", "emergency_ro"];

/** Why a mounted file system cannot be used any more, though its device works; undefined when it can. One that does not answer is `unavailable`. */
export async function findFault({ mountPoint, options, superOptions }: MountEntry, mounter: Mounter) {
  const shutDown = superOptions.find((option) => shutDownOptions.includes(option));
  if (shutDown !== undefined) return `the kernel has shut it down (${shutDown})`;
  if (superOptions.includes("ro") && !options.includes("ro")) return "the kernel made it read-only after an error";
  return await mounter.findAccessFault(mountPoint);
}
