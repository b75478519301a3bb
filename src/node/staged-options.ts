import type { MountEntry } from "../system/mountinfo.js";
import { findContext, isOtherContext } from "./mounts/selinux-context.js";

/** Options of mount(8), and those that take them back. */
const switches = [
  { on: "noexec", off: ["exec"] },
  { on: "nosuid", off: ["suid"] },
  { on: "nodev", off: ["dev"] },
];

/**
 * In which options a mount is not what is asked for. Looks only at those that the kernel reports as they were given: it
 * leaves out others where they are its default, adds some, and writes numbers in its own way.
 */
export function listOtherOptions(asked: readonly string[], mounted: MountEntry): string[] {
  const others = switches.filter(({ on, off }) => {
    const isAsked = asked.findLast((option) => option === on || off.includes(option)) === on;
    return isAsked !== mounted.options.includes(on);
  });
  const names = others.map(({ on }) => on);
  return isOtherContext(findContext(asked), mounted) ? [...names, "context"] : names;
}
