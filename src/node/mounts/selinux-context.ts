import type { MountEntry } from "../../system/mountinfo.js";

/** The label among mount options which all files of the mount have, without quotes. */
export function findContext(options: readonly string[]): string | undefined {
  return options
    .findLast((option) => option.startsWith("context="))
    ?.slice("context=".length)
    .replaceAll('"', "");
}

/**
 * Whether a mount surely has another label than the one asked for. Labels of one meaning can be written in several ways, and
 * types have aliases, so of two labels only the levels are compared, by which pods are kept apart. Where SELinux is off
 * mount(8) leaves the label out, and there is nothing to compare.
 */
export function isOtherContext(asked: string | undefined, { superOptions }: MountEntry): boolean {
  // A label with commas is in quotes, and was taken apart with the list.
  const [, text] = /(?:^|,)context=("[^"]*"|[^,]*)/.exec(superOptions.join(",")) ?? [];
  if (text === undefined) return asked !== undefined && superOptions.includes("seclabel");
  if (asked === undefined) return true;
  const [level, askedLevel] = [text.replaceAll('"', ""), asked].map(readLevel);
  return level !== undefined && askedLevel !== undefined && level !== askedLevel;
}

/** The level of a label in one way of writing; undefined when it has none, or one that only a translation table knows. */
function readLevel(context: string): string | undefined {
  const [low, high = low, ...rest] = context.split(":").slice(3).join(":").split("-").map(readOneLevel);
  if (low === undefined || high === undefined || rest.length > 0) return undefined;
  return `${low}-${high}`;
}

function readOneLevel(text: string): string | undefined {
  const [, sensitivity, list] = /^(s\d+)(?::(.+))?$/.exec(text) ?? [];
  if (sensitivity === undefined) return undefined;
  const categories = (list?.split(",") ?? []).map(readCategories);
  if (categories.includes(undefined)) return undefined;
  const sorted = [...new Set(categories.flatMap((each) => each ?? []))].sort((left, right) => left - right);
  return `${sensitivity}:${sorted.join()}`;
}

/** `c3`, or `c3.c5` for all from the one to the other. */
function readCategories(text: string): number[] | undefined {
  const [, first, last = first] = /^c(\d{1,4})(?:\.c(\d{1,4}))?$/.exec(text) ?? [];
  if (first === undefined) return undefined;
  return Array.from({ length: Math.max(Number(last) - Number(first) + 1, 0) }, (_, index) => Number(first) + index);
}
