import { lstatSync } from "node:fs";
import type * as files from "node:fs/promises";
import type { CrashSwitch } from "./crash-switch.js";

type Files = typeof files;
type Verb = (...args: unknown[]) => Promise<unknown>;

const verbs = ["mkdir", "rmdir", "rename", "truncate", "writeFile", "appendFile", "copyFile", "rm", "unlink"] as const;
const handleVerbs = ["write", "writeFile", "appendFile", "truncate"] as const;

/** node:fs/promises in which every change is a step of a process that may crash. What changes nothing always works. */
export function createMortalFiles(original: Files, crash: CrashSwitch): Files {
  const mortal: Record<string, unknown> = { ...original };
  for (const verb of verbs) {
    const effect = original[verb] as unknown as Verb;
    mortal[verb] = (...args: unknown[]) =>
      changesNothing(verb, args) ? effect(...args) : crash.step(() => effect(...args));
  }
  mortal.open = async (path: string, flags: string | number = "r", ...rest: [number?]) => {
    if (flags === "r" || typeof flags === "number") return await original.open(path, flags, ...rest);
    const handle = await crash.step(() => original.open(path, flags, ...rest));
    for (const verb of handleVerbs) {
      const effect = (handle[verb] as unknown as Verb).bind(handle);
      Object.defineProperty(handle, verb, { value: (...args: unknown[]) => crash.step(() => effect(...args)) });
    }
    return handle;
  };
  return { ...mortal, default: mortal } as unknown as Files;
}

/** The removal of what is not there would only be a second crash at the same state. */
function changesNothing(verb: string, [path]: unknown[]): boolean {
  if (verb !== "rm" && verb !== "unlink") return false;
  return lstatSync(String(path), { throwIfNoEntry: false }) === undefined;
}
