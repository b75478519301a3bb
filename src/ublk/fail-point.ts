import { loadAddon } from "./addon.js";

/**
 * For crash tests: ends this process, as by SIGKILL, right before or after a control command such as `before:ADD_DEV`.
 * False when there is no such point.
 */
export function dieAtCommand(point: string): boolean {
  return loadAddon().dieAt(point);
}
